"""A deleted object: traffic leaves, then the replicas, then the finalizer, each only on positive evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.state.actions import Action, DeleteRoute, NudgeServe, Plan, RemoveFinalizer, Wait
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.knowledge import Absent, Known, Unknown
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
    """The object is gone, perhaps by force: its key in the route table is nobody's."""
    done = Plan(
        key=observed.key,
        action=Wait(),
        serving=Serving(),
        reason=Reason.DELETING,
        message="The object is gone.",
        requeue_after_s=bounds.resync_s,
    )
    if isinstance(observed.route, Known):
        return replace(done, action=DeleteRoute(), message="The object is gone and left a route.", requeue_after_s=0.0)
    return done


def _traffic(down: _Teardown) -> Plan | None:
    match down.observed.route:
        case Known():
            return down.plan(DeleteRoute(), "The route is deleted, so that no request comes any more.")
        case Unknown(reason=reason):
            message = f"Waits for the route table, which can't be read: {reason}"
            return down.plan(Wait(), message, reason=Reason.GATEWAY_UNREACHABLE, unknown=True)
        case Absent():
            return _confirmation(down)
        case _ as never:
            assert_never(never)


def _confirmation(down: _Teardown) -> Plan | None:
    match down.observed.gateways:
        case Absent():
            return None
        case Unknown(reason=reason):
            message = f"Waits for every gateway to say that the route is gone: {reason}"
            return down.plan(Wait(), message, reason=Reason.GATEWAY_UNREACHABLE, unknown=True)
        case Known(value=gateways):
            name = down.observed.key.name
            confirmation = gateways.confirmation(lambda view: name not in view.routes)
            if confirmation.missing:
                having = ", ".join(sorted(member.called for member in confirmation.missing))
                return down.plan(Wait(), f"Waits for gateway {having} to drop the route.")
            if confirmation.unread:
                unread = ", ".join(sorted(member.name for member in confirmation.unread))
                message = f"Waits for gateway {unread}, which can't be read, to say that the route is gone."
                return down.plan(Wait(), message, reason=Reason.GATEWAY_UNREACHABLE, unknown=True)
            return None
        case _ as never:
            assert_never(never)


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
