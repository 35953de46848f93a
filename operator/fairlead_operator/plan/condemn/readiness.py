"""Whether the revision that moved last still serves: positive evidence alone, over a stated time.

A spell begins when no gateway sees a ready replica, or Ray calls the application unhealthy, and is remembered in the
status. What can't be read neither begins nor ends one, and condemns nobody; nor does a spell in which the other
revision isn't ready either, as then it is not the model that is to blame. While a gateway can't be read, a revision is
judged by Ray's word, with the other revision ready at each gateway that can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead_operator.api.health import CRASHES_MAX, REPLICA_ID_MAX, REPLICAS_SEEN_MAX, Health
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan import failure
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.time import elapsed_s

MOMENT_S = 10.0
"""Ray looks at each replica every few seconds, so it reports replicas that end together within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The revision that is judged, and the other one, which has to be ready."""

    revision: str
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spell:
    """What speaks against a revision in this snapshot; ``by_ray`` where Ray itself says so."""

    words: str
    is_silent: bool
    by_ray: bool


def is_window_open(context: Context, rollout: Rollout) -> bool:
    """Whether a failure takes the promoted revision back: never to one that failed itself, or that a person left."""
    warm = rollout.leaving
    if warm is None or context.serving.quarantined(warm) is not None:
        return False
    return context.since_step_s(rollout) <= context.desired.rollback_window_s


def crash_loop(context: Context, rollout: Rollout) -> Condemned | None:
    """It crashed again and again; judged with the spell that completes it: once it is up, nothing says why it fell."""
    pair = _find_pair(context, rollout)
    if pair is None or not context.fewest_seen_up(pair.other) or _is_started_again(context, pair):
        return None
    spell = _spell(context, rollout.health, pair.revision)
    if not _is_loop(context, _extend(context, rollout.health, spell, pair.revision)):
        return None
    message = f"It crashed {CRASHES_MAX} times within {context.bounds.crash_loop_s:g} s."
    words = one_line(f"{message} {spell.words}") if spell is not None else message
    return Condemned(reason=Reason.CRASH_LOOP, message=words)


def lost(context: Context, rollout: Rollout) -> Condemned | None:
    """A spell that the status remembers has lasted for too long."""
    pair = _find_pair(context, rollout)
    spell = _spell(context, rollout.health, pair.revision) if pair is not None else None
    if pair is None or spell is None or not context.fewest_seen_up(pair.other) or _is_started_again(context, pair):
        return None
    since, limit_s = rollout.health.unwell_since, _limit_s(context, spell)
    is_remembered = since is not None and _extend(context, rollout.health, spell, pair.revision) == rollout.health
    if since is None or not is_remembered or elapsed_s(since, context.now) < limit_s:
        return None
    state = "without a ready replica" if spell.is_silent else "unhealthy"
    message = one_line(f"It was {state} for {limit_s:g} s. {spell.words}")
    return Condemned(reason=Reason.READINESS_LOST, message=message)


def follow(context: Context, rollout: Rollout) -> Plan | None:
    """What a spell makes the pass write or wait for; None while the revision is well, or unknown."""
    pair = _find_pair(context, rollout)
    if pair is None:
        return None
    revision, spell = pair.revision, _spell(context, rollout.health, pair.revision)
    if spell is None:
        return _end_spell(context, rollout, revision) if context.gateways else None
    health = _extend(context, rollout.health, spell, revision)
    if health != rollout.health:
        return _remember(context, rollout, health, Reason.APPLICATION_UNHEALTHY, spell.words)
    message = f"{spell.words.rstrip('.')}; the operator acts if this lasts for {_limit_s(context, spell):g} s."
    if context.application(revision) is None:
        return context.nudge(revision, Reason.APPLICATION_UNHEALTHY, message)
    return context.wait(Reason.APPLICATION_UNHEALTHY, message)


def _find_pair(context: Context, rollout: Rollout) -> _Pair | None:
    """The revision that moved last and the one that could take its traffic; None while nothing is known of them."""
    serving = context.serving
    revision, other = serving.candidate, serving.stable
    if serving.rules.keeps_warm:
        revision, other = serving.stable, rollout.leaving if is_window_open(context, rollout) else None
    if revision is None or other is None or not isinstance(context.serve_of(revision), Known) or not context.answering:
        return None
    return _Pair(revision=revision, other=other)


def _is_started_again(context: Context, pair: _Pair) -> bool:
    """Whether Ray gave up a candidate, so that ``start`` judges whose fault that is."""
    view = context.application(pair.revision)
    is_candidate = context.serving.rules.moves_traffic
    return is_candidate and view is not None and view.status is ApplicationStatus.DEPLOY_FAILED


def _limit_s(context: Context, spell: _Spell) -> float:
    return context.bounds.lost_s if spell.is_silent else context.bounds.unhealthy_s


def _spell(context: Context, health: Health, revision: str) -> _Spell | None:
    """While Ray brings back what its head lost, only its final word counts."""
    view = context.application(revision)
    by_ray = view is not None and view.status in (ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED)
    if health.is_restarting and (view is None or view.status is not ApplicationStatus.DEPLOY_FAILED):
        return None
    called = context.called(revision)
    if view is not None and by_ray:
        words = f"Ray reports {called} as {view.status}: {failure.read_failure(view.message).message}"
        is_silent = view.running_replicas == 0 or context.most_up(revision) == 0
        return _Spell(words=one_line(words), is_silent=is_silent, by_ray=True)
    if context.most_up(revision) == 0:
        return _Spell(words=f"No gateway has a ready replica of {called}", is_silent=True, by_ray=False)
    return None


def _extend(context: Context, health: Health, spell: _Spell | None, revision: str) -> Health:
    """With this pass's spell: a new one of Ray's is a crash, and so is another replica that is lost while it lasts.

    Replicas that are lost within ``MOMENT_S`` of each other are one crash, in however many passes Ray reports it: what
    took them together, such as their node, took them once. The loss of a replica that came since is another crash.
    """
    if spell is None:
        return health
    begun = replace(health, unwell_since=health.unwell_since or context.second)
    if not spell.by_ray:
        return begun
    view = context.application(revision)
    running = view.running_ids if view is not None else ()
    is_lost = any(replica not in running for replica in health.replicas)
    is_moment = bool(health.crashes) and elapsed_s(health.crashes[-1], context.now) < MOMENT_S
    is_crash = is_lost and not is_moment if health.is_crash else not (is_lost and is_moment)
    crashes = (*health.crashes, context.second)[-CRASHES_MAX:] if is_crash else health.crashes
    seen = tuple(replica for replica in running if len(replica) <= REPLICA_ID_MAX)[:REPLICAS_SEEN_MAX]
    return replace(begun, is_crash=True, crashes=crashes, replicas=seen)


def _end_spell(context: Context, rollout: Rollout, revision: str) -> Plan | None:
    health = rollout.health
    if health.is_restarting and not context.fewest_up(revision):
        return None
    after = replace(health, unwell_since=None, is_crash=False, is_restarting=False)
    if after == health:
        return None
    reason = Reason.ROLLBACK_WINDOW_OPEN if context.serving.rules.keeps_warm else Reason.SHIFTING
    return _remember(context, rollout, after, reason, f"{context.called(revision)} is ready again.")


def _remember(context: Context, rollout: Rollout, health: Health, reason: Reason, message: str) -> Plan:
    return context.announce(replace(context.serving, rollout=replace(rollout, health=health)), reason, message)


def _is_loop(context: Context, health: Health) -> bool:
    """Also between two crashes: a replica that is up for a moment proves nothing."""
    crashes = health.crashes
    return len(crashes) == CRASHES_MAX and elapsed_s(crashes[0], context.now) <= context.bounds.crash_loop_s
