"""A model without requests loses its last replica, and gets one back for the first request that waits.

Every gateway holds such a request from the moment it has the route, so no order of steps can lose one.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import goal
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.gateways import MemberState
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import GatewayView
from fairlead_operator.state.time import elapsed_s

MEMORY_FIELD = "atZeroSince"
"""The field of the status without which a model would start again with each pass."""


def wake(context: Context) -> Plan | None:
    """Ends the time without a replica where there is a reason to; None where the model stays as it is."""
    if context.serving.at_zero_since is None:
        return None
    if context.desired.replicas == 0:
        stopped = replace(context.serving, at_zero_since=None)
        return context.announce(stopped, Reason.SCALED_TO_ZERO, "The model is stopped: spec.scaling.replicas is 0.")
    if (reason := _find_reason(context)) is None:
        return None
    serving = replace(context.serving, at_zero_since=None, short_since=context.second)
    return context.announce(serving, Reason.SCALING_FROM_ZERO, f"The first replica is started: {reason}.")


def fall_idle(context: Context) -> Plan | None:
    """Takes the last replicas away once no gateway has had a request for long enough."""
    zero, stable = context.desired.scale_to_zero, context.serving.stable
    if zero is None or zero.keeps_replicas or stable is None or context.serving.at_zero_since is not None:
        return None
    if not _may_stop(context, stable) or not _is_idle_everywhere(context):
        return None
    serving = replace(context.serving, at_zero_since=context.second, short_since=None)
    message = f"No request came for {zero.idle_s} s, so the replicas of {context.called(stable)} stop."
    return context.announce(serving, Reason.AT_ZERO, message)


def _find_reason(context: Context) -> str | None:
    zero = context.desired.scale_to_zero
    if zero is None or zero.keeps_replicas:
        return "spec.scaling asks for it"
    is_kept = context.desired.target in context.desired.revisions
    if is_kept and goal.choose_revision(context) != context.serving.stable:
        return "a rollout begins"
    waiting = [view.id for view in _readable(context) if _waiting(context, view) > 0]
    return f"requests wait at gateway {', '.join(sorted(waiting))}" if waiting else None


def _may_stop(context: Context, stable: str) -> bool:
    """Whether nothing but its own requests needs the stable revision, and the status can remember that it stopped."""
    wanted = context.desired.revisions.get(stable)
    if wanted is None or not wanted.template.is_autoscaled or goal.choose_revision(context) != stable:
        return False
    return MEMORY_FIELD not in context.observed.dropped_fields and not _is_awaited(context, stable)


def _is_awaited(context: Context, stable: str) -> bool:
    """Whether its first replica may still get ready: its start can take longer than a model without requests runs."""
    since = context.serving.short_since
    if since is None or context.is_seen_ready(stable):
        return False
    return elapsed_s(since, context.now) < context.desired.progress_deadline_s


def _is_idle_everywhere(context: Context) -> bool:
    """Whether every gateway holds requests by the present route, and says that it had none.

    One that ends and has no client is not asked, so its silence alone says nothing.
    """
    gateways, entry = context.observed.gateways, traffic.entry(context)
    if not isinstance(gateways, Known):
        return False
    if not any(member.state is MemberState.READY for member in gateways.value.members):
        return False
    return gateways.value.confirmation(
        lambda view: context.has_entry(view, entry) and _is_idle(context, view)
    ).is_complete


def _is_idle(context: Context, view: GatewayView) -> bool:
    route = view.routes.get(context.observed.key.name)
    return route is not None and route.hold is not None and route.hold.is_idle and route.hold.waiting == 0


def _readable(context: Context) -> tuple[GatewayView, ...]:
    """A gateway that can't be read holds up no other one's requests."""
    gateways = context.observed.gateways
    members = gateways.value.members if isinstance(gateways, Known) else ()
    return tuple(member.view.value for member in members if isinstance(member.view, Known))


def _waiting(context: Context, view: GatewayView) -> int:
    route = view.routes.get(context.observed.key.name)
    return route.hold.waiting if route is not None and route.hold is not None else 0
