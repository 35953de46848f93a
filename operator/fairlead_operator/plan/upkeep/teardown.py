"""A deleted object: traffic leaves, then the replicas, then the finalizer, each only on positive evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.plan.upkeep import retirement
from fairlead_operator.state.actions import Action, NudgeServe, Plan, RemoveFinalizer, Wait
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.knowledge import Absent, Unknown
from fairlead_operator.state.observed import ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout, Serving, recall
from fairlead_operator.state.time import whole_second


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teardown:
    view: ModelDeploymentView
    observed: Observed
    serving: Serving
    bounds: Bounds

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
    down = _Teardown(view=view, observed=observed, serving=recall(view.status), bounds=bounds)
    if names.FINALIZER not in view.finalizers:
        message = "The object is being deleted; other finalizers hold it."
        return replace(down.plan(Wait(), message), requeue_after_s=bounds.resync_s)
    return _traffic(down) or _announce(down) or _replicas(down) or _release(down)


def after_the_object(observed: Observed, bounds: Bounds) -> Plan:
    """The object is gone, perhaps by force: what is left of its route is retired on positive evidence alone."""
    done = Plan(
        key=observed.key,
        action=Wait(),
        serving=Serving(),
        reason=Reason.DELETING,
        message="The object is gone.",
        requeue_after_s=bounds.resync_s,
    )
    step = retirement.find_step(observed, None)
    is_over = isinstance(observed.route, Absent) and (step is None or isinstance(step.action, Wait))
    if step is None or is_over:
        return done
    requeue_after_s = bounds.poll_s if step.is_known else bounds.unknown_s
    return replace(done, action=step.action, reason=step.reason, message=step.message, requeue_after_s=requeue_after_s)


def _traffic(down: _Teardown) -> Plan | None:
    step = retirement.find_step(down.observed, down.view.uid)
    if step is None:
        return None
    return down.plan(step.action, step.message, reason=step.reason, unknown=not step.is_known)


def _announce(down: _Teardown) -> Plan | None:
    if down.serving.phase is RolloutPhase.RETIRED:
        return None
    at = whole_second(down.observed.observed_at)
    retired = Serving(
        rollout=Rollout(phase=RolloutPhase.RETIRED, started_at=at, step_started_at=at),
        quarantine=down.serving.quarantine,
        handled=down.serving.handled,
    )
    plan = down.plan(Wait(), "No traffic comes any more; the replicas may go.")
    return replace(plan, serving=retired, requeue_after_s=0.0)


def _replicas(down: _Teardown) -> Plan | None:
    """Every cluster that a revision was placed on has to say so; another one counts where it says the contrary."""
    running = down.observed.applications
    if running:
        cluster = running[0][0]
        stopping = ", ".join(view.name for where, view in running if where == cluster)
        return down.plan(NudgeServe(cluster=cluster), f"Waits for Ray to stop {stopping}.")
    for cluster in down.observed.clusters:
        if isinstance(serve := down.observed.serve_on(cluster), Unknown):
            message = f"Waits for Ray to say that the replicas are gone: {hide_addresses(serve.reason)}"
            return down.plan(NudgeServe(cluster=cluster), message, reason=Reason.RAY_UNREACHABLE, unknown=True)
    return None


def _release(down: _Teardown) -> Plan:
    finalizers = tuple(f for f in down.view.finalizers if f != names.FINALIZER)
    action = RemoveFinalizer(resource_version=down.view.resource_version, finalizers=finalizers)
    return down.plan(action, "Route and replicas are gone.")
