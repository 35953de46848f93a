"""What the status remembers of a rollout as it begins, moves on, is withdrawn or starts again."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.analysis_status import Run
from fairlead_operator.api.counts import Baseline
from fairlead_operator.api.health import Health
from fairlead_operator.api.status import RaySession, Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import goal, steps
from fairlead_operator.state.rollout import Serving


def begin(context: Context, phase: Phase, candidate: str | None) -> Serving:
    """A rollout to a candidate."""
    fresh = _create(context, phase)
    replicas, stable = steps.replicas_at_first(context), steps.stable_at_first(context)
    rollout = replace(fresh, replicas=replicas, stable_replicas=stable)
    return replace(context.serving, candidate=candidate, rollout=rollout)


def stop_stable(context: Context, phase: Phase) -> Serving:
    """The stable revision leaves before another one starts."""
    stable = context.serving.stable
    rollout = _create(context, phase, leaving=stable)
    return replace(context.serving, stable=None, last_stable=stable, rollout=rollout)


def move(context: Context, old: Rollout, phase: Phase, run: Run | None) -> Rollout:
    """The same rollout in its next phase or step. ``run`` is the analysis that ended with the step."""
    baseline = _baseline(context, replace(old, analysis=run or old.analysis))
    return replace(old, phase=phase, step_started_at=context.second, analysis=None, baseline=baseline)


def _baseline(context: Context, done: Rollout) -> Baseline:
    """The stable revision's counts of the steps so far; without a rollback window they are not needed."""
    if not context.serving.rules.moves_traffic or done.analysis is None or not context.desired.rollback_window_s:
        return done.baseline
    return done.baseline.plus(done.analysis.stable)


def withdraw(context: Context, phase: Phase, run: Run | None = None) -> Serving:
    """The candidate leaves, with the replicas that it had."""
    serving, old = context.serving, context.serving.rollout
    fresh = _create(context, phase, leaving=serving.candidate)
    rollout = replace(fresh, replicas=old.replicas if old is not None else None, analysis=_without_marks(run))
    return replace(serving, candidate=None, rollout=rollout)


def take_back(context: Context, phase: Phase, run: Run | None) -> Serving:
    """The warm revision is stable again at once; the promoted one leaves."""
    serving = context.serving
    return replace(
        serving,
        stable=serving.leaving,
        last_stable=serving.leaving,
        previous_stable=serving.stable,
        rollout=replace(_create(context, phase, leaving=serving.stable), analysis=_without_marks(run)),
    )


def restart(context: Context, phase: Phase) -> Serving:
    """Ray lost the replicas. A candidate without traffic starts again; traffic that has moved stays where it is."""
    fresh, old = _create(context, phase), context.serving.rollout
    if old is None:
        return replace(context.serving, rollout=fresh)
    fresh = replace(
        fresh, paused_by_request=old.paused_by_request, replicas=old.replicas, stable_replicas=old.stable_replicas
    )
    health = Health(is_restarting=True) if goal.has_lost_replicas(context, old) else old.health
    if context.serving.rules.keeps_warm:
        fresh = replace(old, ray_sessions=_sessions(context, old), health=health)
    elif context.serving.rules.moves_traffic:
        fresh = replace(
            fresh,
            step=old.step,
            weight=old.weight,
            proved=old.proved,
            proof_digest=old.proof_digest,
            baseline=old.baseline,
            health=health,
        )
    return replace(context.serving, rollout=fresh)


def _sessions(context: Context, old: Rollout | None = None) -> tuple[RaySession, ...]:
    """Those that could be read, and of the others what ``old`` remembers."""
    known = {one.cluster: one.session for one in old.ray_sessions} if old is not None else {}
    sessions = sorted({**known, **context.ray_sessions}.items())
    return tuple(RaySession(cluster=cluster, session=session) for cluster, session in sessions)


def _without_marks(run: Run | None) -> Run | None:
    """The analysis that condemned a revision stays in the status until the revision is gone, without its marks."""
    return run.without_marks() if run is not None else None


def _create(context: Context, phase: Phase, *, leaving: str | None = None) -> Rollout:
    at = context.second
    return Rollout(
        phase=phase,
        leaving=leaving,
        started_at=at,
        step_started_at=at,
        progress_at=at,
        scaled_replicas=context.desired.replicas if context.desired.autoscaling is not None else None,
        ray_sessions=_sessions(context),
    )
