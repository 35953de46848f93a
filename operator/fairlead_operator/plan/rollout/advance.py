"""The next step of a rollout: which trigger holds in the phase that the status remembers, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import capacity, clock, deadline, goal, leaving, phases, restoring, steps, watching
from fairlead_operator.plan.rollout.machine import is_heeded, move
from fairlead_operator.plan.triggers import Trigger, Verdict
from fairlead_operator.plan.upkeep import steady
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.analysis import Run
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.measurements import Counters
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Health, Quarantine, Rollout, Serving

QUARANTINE_MAX = 10

Judge = Callable[[Context, Rollout], Plan | Verdict]

JUDGES: Mapping[Phase, Judge] = {
    Phase.STARTING: phases.starting,
    Phase.CONNECTING: phases.connecting,
    Phase.PROVING: phases.proving,
    Phase.WIDENING: phases.widening,
    Phase.SHIFTING: phases.shifting,
    Phase.RESTORING: restoring.restoring,
    Phase.PROMOTING: leaving.promoting,
    Phase.WATCHING: watching.watching,
    Phase.WITHDRAWING: leaving.withdrawing,
    Phase.DRAINING: leaving.draining,
    Phase.REMOVING: leaving.removing,
}


def decide(context: Context) -> Plan | None:
    """Carries on the rollout that the status remembers, or begins one; None when there is none to begin."""
    rollout = context.serving.rollout
    if rollout is None:
        return _begin(context)
    wished = goal.find_change(context)
    if wished is not None and is_heeded(rollout.phase, wished.trigger):
        return advance(context, wished)
    if (corrected := clock.correct(context, rollout)) is not None:
        return corrected
    judged = JUDGES[rollout.phase](context, rollout)
    return advance(context, judged) if isinstance(judged, Verdict) else deadline.count(context, rollout, judged)


def _begin(context: Context) -> Plan | None:
    serving, aimed = context.serving, goal.choose_revision(context)
    if aimed is None or aimed == serving.stable:
        return None
    if isinstance(serve := context.serve_of(aimed), Unknown):
        return context.wait_unknown(Reason.RAY_UNREACHABLE, f"Ray can't be read: {hide_addresses(serve.reason)}")
    if aimed not in context.desired.revisions:
        return None
    if context.desired.strategy is Strategy.RECREATE and serving.stable is not None:
        message = f"Stops {context.called(serving.stable)} before {context.called(aimed)} is started."
        return advance(context, Verdict(trigger=Trigger.RECREATE, reason=Reason.WITHDRAWING, message=message))
    if (lack := capacity.lack(context, aimed)) is not None:
        return _without_room(context, lack)
    message = f"Starts {context.called(aimed)}."
    return advance(context, Verdict(trigger=Trigger.BEGIN, reason=Reason.ROLLOUT_STARTED, message=message))


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
    return context.announce(serving, verdict.reason, _told(context, verdict))


def _told(context: Context, verdict: Verdict) -> str:
    """A failure is told with the revision and the loader's own word for it."""
    serving = context.serving
    gone = {Trigger.FAILED: serving.candidate, Trigger.STABLE_FAILED: serving.stable}.get(verdict.trigger)
    if gone is None:
        return verdict.message
    return f"{context.called(gone)} failed: {verdict.failure_reason or verdict.reason}: {verdict.message}"


def after(context: Context, verdict: Verdict) -> Serving:
    """What the status shall remember once a trigger was heeded."""
    serving = context.serving
    phase = move(serving.phase, verdict.trigger)
    if phase is None:
        return serving.without_rollout()
    match verdict.trigger:
        case Trigger.BEGIN:
            return replace(serving, candidate=goal.choose_revision(context), rollout=_begun(context, phase))
        case Trigger.RECREATE:
            rollout = _fresh(context, phase, leaving=serving.stable)
            return replace(serving, stable=None, last_stable=serving.stable, rollout=rollout)
        case Trigger.FAILED | Trigger.ABORTED:
            quarantine = _quarantine(context, verdict, serving.candidate)
            return replace(_withdrawn(context, phase, verdict.run), quarantine=quarantine)
        case Trigger.TAKEN_BACK | Trigger.STABLE_FAILED:
            return _swapped(context, phase, verdict)
        case Trigger.SUPERSEDED | Trigger.REVERTED:
            return _withdrawn(context, phase)
        case Trigger.RETURNED:
            return replace(serving, candidate=serving.leaving, rollout=_begun(context, phase))
        case Trigger.RAY_RESTARTED:
            return replace(serving, rollout=_again(context, phase))
        case Trigger.PROMOTE_FULL:
            return _forward(context, phase, step=len(context.steps))
        case _:
            return _forward(context, phase, run=verdict.run)


def _forward(context: Context, phase: Phase, *, step: int | None = None, run: Run | None = None) -> Serving:
    serving, old = context.serving, context.serving.rollout
    if old is None:  # READY and STEP are heeded in no Idle phase; the table's test holds that
        return serving
    if phase is Phase.RESTORING:
        return replace(serving, rollout=restoring.following(context, old, context.second))
    if phase is Phase.WITHDRAWING:
        return _withdrawn(context, phase)
    baseline = _baseline(context, replace(old, analysis=run or old.analysis))
    rollout = replace(old, phase=phase, step_started_at=context.second, analysis=None, baseline=baseline)
    if phase is Phase.PROMOTING:
        return _promoted(context, rollout)
    if phase is Phase.SHIFTING:
        follows = old.step + 1 if old.phase is Phase.SHIFTING else 0
        step = follows if step is None else step
        weight = steps.weight_at(context, step, old.weight)
        rollout = replace(rollout, progress_s=0, progress_at=context.second)
        rollout = replace(rollout, step=step, weight=weight, replicas=steps.replicas_at(context, step, old.replicas))
        if old.phase is Phase.SHIFTING:
            rollout = replace(rollout, stable_replicas=steps.stable_after(context, old))
    return replace(serving, rollout=rollout)


def _baseline(context: Context, done: Rollout) -> Counters:
    """What the steps so far counted of the stable revision; nobody asks for it without a rollback window."""
    if done.phase is not Phase.SHIFTING or done.analysis is None or not context.desired.rollback_window_s:
        return done.baseline
    return done.baseline.plus(done.analysis.sums.stable.as_baseline())


def _promoted(context: Context, rollout: Rollout) -> Serving:
    serving = context.serving
    before = serving.stable or serving.last_stable
    return replace(
        serving,
        stable=serving.candidate,
        candidate=None,
        last_stable=serving.candidate,
        previous_stable=before if before != serving.candidate else serving.previous_stable,
        rollout=replace(
            rollout,
            leaving=serving.stable,
            weight=0,
            step=0,
            replicas=rollout.stable_replicas,
            stable_replicas=rollout.replicas if rollout.stable_replicas is not None else None,
            paused_by_request=False,
            stable_lost_at=None,
            health=Health(),
        ),
    )


def _swapped(context: Context, phase: Phase, verdict: Verdict) -> Serving:
    """The warm revision is stable again at once; what was promoted leaves."""
    serving = context.serving
    failed = verdict.trigger is Trigger.STABLE_FAILED
    return replace(
        serving,
        quarantine=_quarantine(context, verdict, serving.stable) if failed else serving.quarantine,
        stable=serving.leaving,
        last_stable=serving.leaving,
        previous_stable=serving.stable,
        rollout=replace(_fresh(context, phase, leaving=serving.stable), analysis=_shown(verdict.run)),
    )


def _withdrawn(context: Context, phase: Phase, run: Run | None = None) -> Serving:
    serving, old = context.serving, context.serving.rollout
    fresh = _fresh(context, phase, leaving=serving.candidate)
    kept = replace(fresh, replicas=old.replicas if old is not None else None, analysis=_shown(run))
    return replace(serving, candidate=None, rollout=kept)


def _shown(run: Run | None) -> Run | None:
    """The analysis that condemned a revision is shown until it is gone; its marks are of no more use."""
    return replace(run, sums=replace(run.sums, marks=())) if run is not None else None


def _fresh(context: Context, phase: Phase, *, leaving: str | None = None) -> Rollout:
    at = context.second
    return Rollout(
        phase=phase,
        leaving=leaving,
        started_at=at,
        step_started_at=at,
        progress_at=at,
        ray_sessions=context.ray_sessions,
    )


def _begun(context: Context, phase: Phase) -> Rollout:
    replicas, stable = steps.replicas_at_first(context), steps.stable_at_first(context)
    return replace(_fresh(context, phase), replicas=replicas, stable_replicas=stable)


def _again(context: Context, phase: Phase) -> Rollout:
    fresh = _fresh(context, phase)
    old = context.serving.rollout
    if old is None:
        return fresh
    fresh = replace(
        fresh, paused_by_request=old.paused_by_request, replicas=old.replicas, stable_replicas=old.stable_replicas
    )
    health = Health(is_restarting=True) if goal.has_lost_replicas(context, old) else old.health
    if phase is Phase.WATCHING:
        return replace(old, ray_sessions={**old.ray_sessions, **context.ray_sessions}, health=health)
    if phase is not Phase.SHIFTING:
        return fresh
    return replace(
        fresh,
        step=old.step,
        weight=old.weight,
        proved=old.proved,
        proof_digest=old.proof_digest,
        baseline=old.baseline,
        health=health,
    )


def _quarantine(context: Context, verdict: Verdict, gone: str | None) -> tuple[Quarantine, ...]:
    if gone is None:
        return context.serving.quarantine
    failed = Quarantine(
        revision=gone,
        reason=verdict.failure_reason or verdict.reason,
        message=verdict.message,
        time=context.second,
    )
    return with_entry(context.serving.quarantine, failed)


def with_entry(quarantine: tuple[Quarantine, ...], entry: Quarantine) -> tuple[Quarantine, ...]:
    """The newest ones, one for each revision."""
    others = tuple(q for q in quarantine if q.revision != entry.revision)
    return (*others, entry)[-QUARANTINE_MAX:]
