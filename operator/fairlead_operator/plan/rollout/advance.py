"""The next step of a rollout: which trigger holds in the phase that the status remembers, and what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.status import QUARANTINE_MAX, Quarantine
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import capacity, clock, goal, limits, memory, progress
from fairlead_operator.plan.rollout.behaviour import BEHAVIOUR
from fairlead_operator.plan.upkeep import steady
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.phases import next_phase
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.triggers import Trigger


def decide(context: Context) -> Plan | None:
    """Carries on the rollout that the status remembers, or begins one; None when there is none to begin."""
    rollout = context.serving.rollout
    if rollout is None:
        return _begin(context)
    changed = goal.find_change(context)
    if changed is not None and context.serving.rules.reacts_to(changed.trigger):
        return advance(context, changed)
    if (corrected := clock.correct(context, rollout)) is not None:
        return corrected
    judged = BEHAVIOUR[rollout.phase].judge(context, rollout)
    return advance(context, judged) if isinstance(judged, Verdict) else progress.count(context, rollout, judged)


def _begin(context: Context) -> Plan | None:
    serving, aimed = context.serving, goal.choose_revision(context)
    if aimed is None or aimed == serving.stable:
        return None
    if aimed in context.desired.revisions and (excess := limits.find_excess(context, aimed)) is not None:
        waits = context.wait(Reason.EXCEEDS_CLASS, excess, requeue_after_s=context.bounds.resync_s)
        return steady.decide(context) or waits
    if isinstance(serve := context.serve_of(aimed), Unknown):
        return _without_ray(context, aimed, serve.reason)
    if aimed not in context.desired.revisions:
        return None
    if (lack := capacity.lack(context, aimed)) is not None:
        return _without_room(context, lack)
    if context.desired.strategy is Strategy.RECREATE and serving.stable is not None:
        message = f"Stopping {context.called(serving.stable)} before starting {context.called(aimed)}."
        return advance(context, Verdict(trigger=Trigger.RECREATE, reason=Reason.WITHDRAWING, message=message))
    message = f"Starting {context.called(aimed)}."
    return advance(context, Verdict(trigger=Trigger.BEGIN, reason=Reason.ROLLOUT_STARTED, message=message))


def _without_ray(context: Context, aimed: str, why: str) -> Plan:
    """What serves on another Ray cluster is looked after while that of the next revision can't be read."""
    cluster, awaited = context.cluster_of(aimed), context.observed.awaited
    waits = context.wait_for_ray(cluster, why)
    if awaited is not None and cluster == context.observed.placement:
        message = f"{context.called(aimed)} waits for Ray cluster {cluster}: {awaited}"
        waits = context.wait_unknown(Reason.RAY_CLUSTER_STARTING, message)
    stable = context.serving.stable
    is_elsewhere = stable is not None and context.cluster_of(stable) != cluster
    return (steady.decide(context) if is_elsewhere else None) or waits


def _without_room(context: Context, lack: capacity.Lack) -> Plan:
    """What serves is looked after while the next one waits for its room."""
    if lack.recreates:
        verdict = Verdict(trigger=Trigger.RECREATE, reason=Reason.INSUFFICIENT_CAPACITY, message=lack.message)
        return advance(context, verdict)
    waits = context.wait(Reason.INSUFFICIENT_CAPACITY, lack.message, requeue_after_s=context.bounds.unknown_s)
    return steady.decide(context) or waits


def advance(context: Context, verdict: Verdict) -> Plan:
    """Announces the phase that follows."""
    serving = after(context, verdict)
    return context.announce(serving, verdict.reason, _describe(context, verdict))


def _describe(context: Context, verdict: Verdict) -> str:
    """A failure names the revision and the loader's own word for it."""
    serving = context.serving
    gone = {Trigger.FAILED: serving.candidate, Trigger.STABLE_FAILED: serving.stable}.get(verdict.trigger)
    if gone is None:
        return verdict.message
    return f"{context.called(gone)} failed: {verdict.failure_reason or verdict.reason}: {verdict.message}"


def after(context: Context, verdict: Verdict) -> Serving:
    """What the status remembers once a trigger was acted on."""
    serving = context.serving
    phase = next_phase(serving.phase, verdict.trigger)
    if phase is None:
        return serving.without_rollout()
    match verdict.trigger:
        case Trigger.BEGIN:
            return memory.begin(context, phase, goal.choose_revision(context))
        case Trigger.RECREATE:
            return memory.stop_stable(context, phase)
        case Trigger.FAILED | Trigger.ABORTED | Trigger.SUPERSEDED | Trigger.REVERTED:
            return replace(memory.withdraw(context, phase, verdict.run), quarantine=_quarantine(context, verdict))
        case Trigger.TAKEN_BACK | Trigger.STABLE_FAILED:
            return replace(memory.take_back(context, phase, verdict.run), quarantine=_quarantine(context, verdict))
        case Trigger.RETURNED:
            return memory.begin(context, phase, serving.leaving)
        case Trigger.RAY_RESTARTED:
            return memory.restart(context, phase)
        case Trigger.READY | Trigger.STEP | Trigger.RESTORE | Trigger.WATCH | Trigger.PROMOTE | Trigger.PROMOTE_FULL:
            return _enter(context, phase, verdict)
        case (
            Trigger.DONE
            | Trigger.SUSPEND
            | Trigger.RESUME
            | Trigger.HOLD
            | Trigger.RELEASE
            | Trigger.RETRY
            | Trigger.ROLLBACK
        ):
            return serving  # these end the rollout, or are recorded where they are decided
    assert_never(verdict.trigger)


def _enter(context: Context, phase: Phase, verdict: Verdict) -> Serving:
    old = context.serving.rollout
    if old is None:  # no such trigger leads from Idle to a phase; the test of the table holds that
        return context.serving
    moved = memory.move(context, old, phase, verdict.run)
    return BEHAVIOUR[phase].enter(context, old, moved, verdict.trigger)


def _quarantine(context: Context, verdict: Verdict) -> tuple[Quarantine, ...]:
    """With the revision that the trigger condemns, if it condemns one."""
    serving = context.serving
    condemned = {
        Trigger.FAILED: serving.candidate,
        Trigger.ABORTED: serving.candidate,
        Trigger.STABLE_FAILED: serving.stable,
    }
    revision = condemned.get(verdict.trigger)
    if revision is None:
        return serving.quarantine
    failed = Quarantine(
        revision=revision,
        reason=verdict.failure_reason or verdict.reason,
        message=verdict.message,
        time=context.second,
    )
    return with_entry(context.serving.quarantine, failed)


def with_entry(quarantine: tuple[Quarantine, ...], entry: Quarantine) -> tuple[Quarantine, ...]:
    """The newest ones, one for each revision."""
    others = tuple(q for q in quarantine if q.revision != entry.revision)
    return (*others, entry)[-QUARANTINE_MAX:]
