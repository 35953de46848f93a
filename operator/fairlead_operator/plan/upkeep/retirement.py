"""A route that is needed no more: marked as retired, confirmed by every gateway, and only then deleted.

An unmarked deletion takes nothing from a gateway, as somebody else may have done it. So where a gateway still routes
for a model that is gone, the route is written once more, marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from fairlead_operator.api.text import one_line
from fairlead_operator.state import unread
from fairlead_operator.state.actions import DeleteRoute, RetireRoute, Wait
from fairlead_operator.state.gateways import Confirmation
from fairlead_operator.state.knowledge import Absent, Known, Unknown
from fairlead_operator.state.observed import Observed, RouteWrites
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import GatewayView

ANY_GATEWAY = "the gateways send no requests to the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is written next, or waited for, with its sentence.

    ``left`` completes "It is not confirmed that" once nothing is waited for any longer. ``is_known`` is false where
    what is waited for can't be read or had.
    """

    action: RetireRoute | DeleteRoute | Wait
    message: str
    left: str = ANY_GATEWAY
    reason: Reason = Reason.DELETING
    is_known: bool = True


def find_step(observed: Observed, owner_uid: str | None) -> Step | None:
    """None once there is no route, and no gateway routes for the model."""
    step = _next_step(observed, owner_uid)
    if step is None or isinstance(step.action, Wait) or observed.route_writes is RouteWrites.POSSIBLE:
        return step
    is_ending = observed.route_writes is RouteWrites.ENDING
    why = "the namespace is being deleted" if is_ending else "the operator has no permission to change it"
    return Step(action=Wait(), message=f"Waiting for the gateways to remove the route: {why}.", is_known=False)


def _next_step(observed: Observed, owner_uid: str | None) -> Step | None:
    retire, model = RetireRoute(owner_uid=owner_uid), observed.key.name
    match observed.route:
        case Unknown(reason=why):
            return _unread(unread.describe_route(model, why))
        case Known(value=route) if not route.is_retired:
            words = f"Marking ModelRoute {model} as retired. The gateways then send no more requests to the model."
            return Step(action=retire, message=words)
        case Known():
            words = f"Every gateway has confirmed that the model gets no requests. Deleting ModelRoute {model}."
            return _unconfirmed(observed) or Step(action=DeleteRoute(), message=words)
        case Absent():
            if _still_routed(observed):
                words = f"A gateway still routes requests to the model. Marking ModelRoute {model} as retired again."
                return Step(action=retire, message=words)
            return _unconfirmed(observed)
        case _ as never:
            assert_never(never)


def _confirmation(observed: Observed) -> Confirmation | None:
    """None where the gateways can't be listed, or where there are none."""
    if not isinstance(observed.gateways, Known):
        return None
    return observed.gateways.value.confirmation(lambda view: not is_routed(view, observed.key.name))


def is_routed(view: GatewayView, model: str) -> bool:
    """Whether a gateway still sends requests anywhere for the model; also while it is taking the route down."""
    live = view.routes.get(model)
    return live is not None and not (live.is_retired and live.version is not None)


def _still_routed(observed: Observed) -> bool:
    confirmation = _confirmation(observed)
    return confirmation is not None and bool(confirmation.missing)


def _unconfirmed(observed: Observed) -> Step | None:
    """None once every gateway that may still get requests has confirmed, and where the namespace has none."""
    if isinstance(observed.gateways, Unknown):
        return _unread(unread.describe_gateways(observed.gateways.reason))
    confirmation = _confirmation(observed)
    if confirmation is None or confirmation.is_complete:
        return None
    for member in confirmation.missing:
        if (refusal := member.refusal(observed.key.name)) is not None:
            words = one_line(f"Gateway {member.called} does not accept the retired route: {refusal}")
            left = f"gateway {member.called} sends no requests to the model"
            return Step(action=Wait(), message=words, left=left, reason=Reason.ROUTE_REFUSED)
    if confirmation.missing:
        names = ", ".join(sorted(member.called for member in confirmation.missing))
        words = f"Waiting for gateway {names} to confirm that it sends no requests to the model."
        return Step(action=Wait(), message=words, left=f"gateway {names} sends no requests to the model")
    seen = ((member.name, member.view) for member in confirmation.unread)
    found = sorted((name, view.reason) for name, view in seen if isinstance(view, Unknown))
    names = ", ".join(name for name, _ in found)
    return _unread(unread.describe_gateway(*found[0]), left=f"gateway {names} sends no requests to the model")


def _unread(message: str, *, left: str = ANY_GATEWAY) -> Step:
    return Step(action=Wait(), message=message, left=left, reason=Reason.GATEWAY_UNREACHABLE, is_known=False)
