"""A deleted object: traffic leaves, then the replicas, then the finalizer, each on positive evidence, or in time.

What can't be read may be gone for good, with its namespace or its cluster: it is waited for ``deletion_unknown_s``, and
what answers but never ends for ``deletion_stuck_s``. Then the finalizer is given up, with a warning that names what may
still run; that is stopped by the Ray cluster's own pass once the cluster answers again, as it belongs to no model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead_operator.api import names
from fairlead_operator.api.status import Rollout, RolloutPhase
from fairlead_operator.plan.upkeep import retirement
from fairlead_operator.state import unread
from fairlead_operator.state.actions import Action, NudgeServe, Plan, RemoveFinalizer, Wait
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.consequences import with_advice
from fairlead_operator.state.knowledge import Absent, Unknown
from fairlead_operator.state.observed import ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.time import whole_second

TICK_S = 5.0
"""How often the time that a deletion has waited is written to the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teardown:
    view: ModelDeploymentView
    observed: Observed
    serving: Serving
    bounds: Bounds

    @property
    def waited_s(self) -> float:
        """Seconds that passes of this deletion have waited; the operator's absence counts as two ticks at most."""
        rollout = self.serving.rollout
        if rollout is None or rollout.progress_at is None or not self.is_begun:
            return 0.0
        since_s = (self.observed.observed_at - rollout.progress_at).total_seconds()
        return rollout.progress_s + max(0.0, min(since_s, 2 * TICK_S))

    @property
    def is_begun(self) -> bool:
        return self.serving.rules.is_suspension

    def plan(self, action: Action, message: str, *, reason: Reason = Reason.DELETING, unknown: bool = False) -> Plan:
        return Plan(
            key=self.observed.key,
            action=action,
            serving=self.serving,
            reason=reason,
            message=message,
            requeue_after_s=self.bounds.unknown_s if unknown else self.bounds.poll_s,
        )


def decide(view: ModelDeploymentView, observed: Observed, bounds: Bounds) -> Plan:
    """The next step of a deletion; its ControllerRevisions go with the object, by their owner."""
    down = _Teardown(view=view, observed=observed, serving=view.serving, bounds=bounds)
    if names.FINALIZER not in view.finalizers:
        message = "The ModelDeployment is being deleted. Finalizers of others are left."
        return replace(down.plan(Wait(), message), requeue_after_s=bounds.resync_s)
    traffic, replicas = _traffic(down), None
    if isinstance(traffic, Plan):
        return traffic
    if (announced := _announce(down)) is not None:
        return announced
    replicas = _replicas(down)
    if isinstance(replicas, Plan):
        return replicas
    return _release(down, tuple(left for left in (traffic, replicas) if left is not None))


def after_the_object(observed: Observed, bounds: Bounds) -> Plan:
    """The object is gone, perhaps by force: what is left of its route is retired on positive evidence alone."""
    done = Plan(
        key=observed.key,
        action=Wait(),
        serving=Serving(),
        reason=Reason.DELETING,
        message="The ModelDeployment is gone.",
        requeue_after_s=bounds.resync_s,
    )
    step = retirement.find_step(observed, None)
    is_over = isinstance(observed.route, Absent) and (step is None or isinstance(step.action, Wait))
    if step is None or is_over:
        return done
    requeue_after_s = bounds.poll_s if step.is_known else bounds.unknown_s
    return replace(done, action=step.action, reason=step.reason, message=step.message, requeue_after_s=requeue_after_s)


def _traffic(down: _Teardown) -> Plan | str | None:
    """None once no gateway routes for the model; a sentence where that was waited for long enough."""
    step = retirement.find_step(down.observed, down.view.uid)
    if step is None:
        is_odd = isinstance(down.observed.gateways, Absent) and _has_served(down)
        message = "Waiting for a gateway: none was found in this namespace."
        return _wait_for(down, message, left=retirement.ANY_GATEWAY) if is_odd else None
    if not isinstance(step.action, Wait):
        return down.plan(step.action, step.message, reason=step.reason)
    return _wait_for(down, step.message, left=step.left, reason=step.reason, is_known=step.is_known)


def _has_served(down: _Teardown) -> bool:
    status = down.view.status
    return (status.stable_revision or status.last_stable_revision or status.candidate_revision) is not None


def _wait_for(
    down: _Teardown,
    message: str,
    *,
    left: str,
    action: Action | None = None,
    reason: Reason = Reason.DELETING,
    is_known: bool = False,
) -> Plan | str:
    """The plan that waits, with the time counted in the status; ``left`` once it was waited for long enough."""
    limit_s = down.bounds.deletion_stuck_s if is_known else down.bounds.deletion_unknown_s
    if down.waited_s >= limit_s:
        return left
    plan = down.plan(action or Wait(), message, reason=reason, unknown=not is_known)
    rollout, at = down.serving.rollout, whole_second(down.observed.observed_at)
    if rollout is None or not down.is_begun:
        begun = Rollout(phase=RolloutPhase.RETIRING, started_at=at, step_started_at=at, progress_at=at)
        if rollout is not None:
            begun = replace(
                begun,
                leaving=rollout.leaving,
                replicas=rollout.replicas,
                stable_replicas=rollout.stable_replicas,
                scaled_replicas=rollout.scaled_replicas,
            )
    elif rollout.progress_at is None or not 0 <= (at - rollout.progress_at).total_seconds() < TICK_S:
        begun = replace(rollout, progress_s=int(down.waited_s), progress_at=at)
    else:
        return plan
    return replace(plan, serving=replace(down.serving, rollout=begun))


def _announce(down: _Teardown) -> Plan | None:
    if down.serving.phase is RolloutPhase.RETIRED:
        return None
    at = whole_second(down.observed.observed_at)
    waited_s = int(down.waited_s)
    retired = Serving(
        rollout=Rollout(
            phase=RolloutPhase.RETIRED, started_at=at, step_started_at=at, progress_s=waited_s, progress_at=at
        ),
        quarantine=down.serving.quarantine,
        handled=down.serving.handled,
    )
    plan = down.plan(Wait(), "The model gets no requests. Stopping its replicas.")
    return replace(plan, serving=retired, requeue_after_s=0.0)


def _replicas(down: _Teardown) -> Plan | str | None:
    """Every cluster that a revision was placed on has to say so; another one counts where it says the contrary."""
    running = down.observed.applications
    if running:
        cluster = running[0][0]
        stopping = ", ".join(view.name for where, view in running if where == cluster)
        message, left = f"Waiting for Ray to stop {stopping}.", f"Ray cluster {cluster} has stopped {stopping}"
        return _wait_for(down, message, left=left, action=NudgeServe(cluster=cluster), is_known=True)
    for cluster in down.observed.clusters:
        if isinstance(serve := down.observed.serve_on(cluster), Unknown):
            message, left = (
                unread.describe_ray(cluster, serve.reason),
                f"Ray cluster {cluster} has stopped the replicas",
            )
            nudge = NudgeServe(cluster=cluster)
            return _wait_for(down, message, left=left, action=nudge, reason=Reason.RAY_UNREACHABLE)
    return None


def _release(down: _Teardown, left: tuple[str, ...]) -> Plan:
    """The finalizer goes; where something may be left behind, only after the status and an event have said so."""
    finalizers = tuple(f for f in down.view.finalizers if f != names.FINALIZER)
    action = RemoveFinalizer(resource_version=down.view.resource_version, finalizers=finalizers)
    if not left:
        return down.plan(action, "Traffic and replicas are removed.")
    message = (
        f"The ModelDeployment is deleted, but it is not confirmed that {', and that '.join(left)}. Replicas that still "
        "run are stopped when their Ray cluster can be read again."
    )
    message = with_advice(Reason.CLEANUP_INCOMPLETE, message, name=down.observed.key.name)
    is_said = any(condition.reason == Reason.CLEANUP_INCOMPLETE for condition in down.view.status.conditions)
    return down.plan(action if is_said else Wait(), message, reason=Reason.CLEANUP_INCOMPLETE)
