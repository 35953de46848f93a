"""A RollingUpdate whose candidate is given up goes back as it came: capacity first, then traffic, batch by batch.

The spec may ask for another strategy by now, so only the replicas that both revisions have decide.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import traffic
from fairlead_operator.plan.condemn import deadline
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT
from fairlead_operator.state.triggers import Trigger


def enter(context: Context, old: Rollout, moved: Rollout) -> Rollout:
    """The next batch: what was confirmed may be taken from the candidate and given to the stable revision.

    ``moved`` is ``old`` in the phase Restoring.
    """
    candidate, stable = old.replicas or 0, old.stable_replicas or 0
    if old.phase is moved.phase:
        size = _size(context, candidate, stable)
        candidate, stable = max(0, candidate - size), min(context.desired.replicas, stable + size)
    elif stable == 0:
        # Fewer replicas were asked for in the middle of the batches: none would start, and no traffic could go back.
        stable = min(1, context.desired.replicas)
    left = max(0, candidate - _size(context, candidate, stable))
    weight = FULL_WEIGHT * left // (left + stable) if left else 0
    return replace(
        old,
        phase=moved.phase,
        replicas=candidate,
        stable_replicas=stable,
        weight=min(weight, _weight_in_route(context)),
        step_started_at=context.second,
        progress_s=0,
        progress_at=context.second,
        stable_lost_at=None,
        analysis=None,
    )


def _size(context: Context, candidate: int, stable: int) -> int:
    """The number of replicas beyond the desired ones, at least 1."""
    return max(1, candidate + stable - context.desired.replicas)


def _weight_in_route(context: Context) -> int:
    """The candidate's weight in the table: it never rises on the way back."""
    route, candidate = context.observed.route, context.serving.candidate
    return route.value.weights().get(candidate or "", 0) if isinstance(route, Known) else 0


def restoring(context: Context, rollout: Rollout) -> Plan | Verdict:
    """The stable revision's replicas are seen, then the traffic moves; it doesn't wait for what never comes."""
    stable, candidate = context.serving.stable, context.serving.candidate
    late = deadline.is_late(context, rollout)
    if stable is None or candidate is None or context.desired.replicas == 0 or late:
        return _end(context)
    if context.most_up(candidate) == 0:
        return _end(context)
    waits = _replicas(context, rollout, stable) or traffic.ensure(context, traffic.entry(context))
    if waits is not None:
        return waits
    if rollout.weight == 0:
        return _end(context)
    message = f"{context.called(stable)} has enough replicas for more traffic."
    return Verdict(trigger=Trigger.STEP, reason=Reason.RESTORING, message=message)


def _replicas(context: Context, rollout: Rollout, stable: str) -> Plan | None:
    """A gateway sees a replica that Ray stops for a moment longer, so one that Ray doesn't run doesn't count."""
    needed, up = min(rollout.stable_replicas or 0, context.desired.replicas), context.fewest_up(stable)
    if up is None:
        return context.wait_for_gateways()
    called, application = context.called(stable), context.application(stable)
    message = f"The gateways see {up} of {needed} replicas of {called}, which gets its traffic again."
    if up >= needed:
        if isinstance(context.serve_of(stable), Unknown):
            return None
        running = application.running_replicas if application is not None else 0
        if running >= needed:
            return None
        message = f"Ray runs {running} of {needed} replicas of {called}, which gets its traffic again."
    if application is None:
        return context.nudge(stable, Reason.RESTORING, message)
    return context.wait(Reason.RESTORING, message)


def _end(context: Context) -> Verdict:
    stable = context.serving.stable
    called = context.called(stable) if stable is not None else "no revision"
    return Verdict(trigger=Trigger.READY, reason=Reason.WITHDRAWING, message=f"All traffic goes to {called}.")
