"""``spec.suspend``: traffic leaves, every gateway confirms, then the replicas go. A resume starts from there."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Rollout, RolloutPhase
from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import NudgeServe, Plan
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving


def decide(context: Context) -> Plan | None:
    """Begins, carries on or ends a suspension."""
    match context.serving.phase:
        case RolloutPhase.RETIRING:
            return _retire(context)
        case RolloutPhase.RETIRED:
            return _rest(context) if context.desired.suspended else _resume(context)
        case _:
            return _begin(context) if context.desired.suspended else None


def _begin(context: Context) -> Plan:
    at = context.second
    old = context.serving.rollout
    rollout = Rollout(phase=RolloutPhase.RETIRING, started_at=at, step_started_at=at)
    if old is not None:
        rollout = replace(
            rollout,
            leaving=old.leaving,
            replicas=old.replicas,
            stable_replicas=old.stable_replicas,
            scaled_replicas=old.scaled_replicas,
        )
    message = "All traffic is removed, because spec.suspend is true."
    return context.announce(replace(context.serving, rollout=rollout), Reason.SUSPENDED, message)


def _retire(context: Context) -> Plan:
    waiting = traffic.ensure(context, traffic.entry(context))
    if waiting is not None:
        return waiting
    serving = context.serving
    rollout = serving.rollout
    at = context.second
    retired = Serving(
        last_stable=serving.stable or serving.last_stable,
        rollout=Rollout(
            phase=RolloutPhase.RETIRED, started_at=rollout.started_at if rollout else at, step_started_at=at
        ),
        previous_stable=serving.previous_stable,
        quarantine=serving.quarantine,
        rollback=serving.rollback,
        handled=serving.handled,
    )
    return context.announce(retired, Reason.SUSPENDED, "The model gets no requests. Stopping its replicas.")


def _rest(context: Context) -> Plan:
    running = context.observed.applications
    if running:
        cluster, _ = running[0]
        message = f"Waiting for Ray to stop {', '.join(view.name for where, view in running if where == cluster)}."
        return context.act(NudgeServe(cluster=cluster), Reason.SUSPENDED, message)
    for cluster in context.observed.clusters:
        if isinstance(serve := context.observed.serve_on(cluster), Unknown):
            return context.wait_for_ray(cluster, serve.reason)
    message = "Nothing runs, because spec.suspend is true."
    return context.wait(Reason.SUSPENDED, message, requeue_after_s=context.bounds.resync_s)


def _resume(context: Context) -> Plan:
    idle = context.serving.without_rollout()
    return context.announce(
        idle, Reason.INITIALIZING, "The model starts again, because spec.suspend is no longer true."
    )
