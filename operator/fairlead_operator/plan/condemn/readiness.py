"""Whether the revision that moved last still serves: positive evidence alone, over a stated time.

A spell begins when no gateway sees a ready replica, or Ray calls the application unhealthy, and is remembered in the
status. What can't be read neither begins nor ends one, and condemns nobody; nor does a spell in which the other
revision isn't ready either, as then it is not the model that is to blame.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from fairlead_operator.api.status import CRASHES_MAX
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.condemn import ray
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Health, Rollout
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.time import elapsed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A revision with traffic is given up."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spell:
    """What speaks against a revision in this snapshot; ``by_ray`` where Ray itself says so."""

    words: str
    is_silent: bool
    by_ray: bool


def judge(context: Context, rollout: Rollout, revision: str, *, other: str) -> Plan | Failed | None:
    """A failure, or what a spell makes the pass write or wait for; None while the revision is well, or unknown."""
    if not isinstance(context.serve_of(revision), Known) or not context.gateways:
        return None
    spell, is_relieved = _spell(context, rollout.health, revision), bool(context.fewest_up(other))
    health = _extend(rollout.health, spell, context.second) if spell is not None else rollout.health
    if is_relieved and _is_loop(context, health):
        # Judged with the spell that completes it: once it is up again, nothing says why it fell.
        message = f"It crashed {CRASHES_MAX} times within {context.bounds.crash_loop_s:g} s."
        words = one_line(f"{message} {spell.words}") if spell is not None else message
        return Failed(reason=Reason.CRASH_LOOP, message=words)
    if spell is None:
        return _end_spell(context, rollout, revision)
    if health != rollout.health:
        return _remember(context, rollout, health, Reason.APPLICATION_UNHEALTHY, spell.words)
    limit_s = context.bounds.lost_s if spell.is_silent else context.bounds.unhealthy_s
    if is_relieved and elapsed_s(health.unwell_since or context.now, context.now) >= limit_s:
        state = "without a ready replica" if spell.is_silent else "unhealthy"
        return Failed(
            reason=Reason.READINESS_LOST, message=one_line(f"It was {state} for {limit_s:g} s. {spell.words}")
        )
    message = f"{spell.words.rstrip('.')}; the operator acts if this lasts for {limit_s:g} s."
    if context.application(revision) is None:
        return context.nudge(revision, Reason.APPLICATION_UNHEALTHY, message)
    return context.wait(Reason.APPLICATION_UNHEALTHY, message)


def _spell(context: Context, health: Health, revision: str) -> _Spell | None:
    """While Ray brings back what its head lost, only its final word counts."""
    view = context.application(revision)
    by_ray = view is not None and view.status in (ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED)
    if health.is_restarting and (view is None or view.status is not ApplicationStatus.DEPLOY_FAILED):
        return None
    called = context.called(revision)
    if view is not None and by_ray:
        words = f"Ray reports {called} as {view.status}: {ray.read_failure(view.message).message}"
        is_silent = view.running_replicas == 0 or context.most_up(revision) == 0
        return _Spell(words=one_line(words), is_silent=is_silent, by_ray=True)
    if context.most_up(revision) == 0:
        return _Spell(words=f"No gateway has a ready replica of {called}", is_silent=True, by_ray=False)
    return None


def _extend(health: Health, spell: _Spell, now: datetime.datetime) -> Health:
    begun = replace(health, unwell_since=health.unwell_since or now)
    if not spell.by_ray or health.is_crash:
        return begun
    return replace(begun, is_crash=True, crashes=(*health.crashes, now)[-CRASHES_MAX:])


def _end_spell(context: Context, rollout: Rollout, revision: str) -> Plan | None:
    health = rollout.health
    if health.is_restarting and not context.fewest_up(revision):
        return None
    after = replace(health, unwell_since=None, is_crash=False, is_restarting=False)
    if after == health:
        return None
    reason = Reason.WATCHED if context.serving.rules.keeps_warm else Reason.SHIFTING
    return _remember(context, rollout, after, reason, f"{context.called(revision)} is ready again.")


def _remember(context: Context, rollout: Rollout, health: Health, reason: Reason, message: str) -> Plan:
    return context.announce(replace(context.serving, rollout=replace(rollout, health=health)), reason, message)


def _is_loop(context: Context, health: Health) -> bool:
    """Also between two crashes: a replica that is up for a moment proves nothing."""
    crashes = health.crashes
    return len(crashes) == CRASHES_MAX and elapsed_s(crashes[0], context.now) <= context.bounds.crash_loop_s
