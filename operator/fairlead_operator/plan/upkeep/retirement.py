"""A route that is needed no more: marked as retired, confirmed by every gateway, and only then deleted.

An unmarked deletion takes nothing from a gateway, as somebody else may have done it. So where a gateway still routes
for a model that is gone, the route is written once more, marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.state.actions import DeleteRoute, RetireRoute, Wait
from fairlead_operator.state.gateways import Confirmation
from fairlead_operator.state.knowledge import Absent, Known, Unknown
from fairlead_operator.state.observed import Observed, RouteWrites
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import GatewayView


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is written next, with its sentence; with ``Wait``, ``what`` is waited for.

    ``is_known`` is false where that can't be read or had.
    """

    action: RetireRoute | DeleteRoute | Wait
    what: str
    reason: Reason = Reason.DELETING
    is_known: bool = True

    @property
    def message(self) -> str:
        return f"Waits for {self.what}." if isinstance(self.action, Wait) else self.what


def find_step(observed: Observed, owner_uid: str | None) -> Step | None:
    """None once there is no route, and no gateway routes for the model."""
    step = _next_step(observed, owner_uid)
    if step is None or isinstance(step.action, Wait) or observed.route_writes is RouteWrites.POSSIBLE:
        return step
    is_ending = observed.route_writes is RouteWrites.ENDING
    why = "a namespace that is being deleted takes no route" if is_ending else "the operator may write no route here"
    return Step(action=Wait(), what=f"the gateways to drop the route by themselves, as {why}", is_known=False)


def _next_step(observed: Observed, owner_uid: str | None) -> Step | None:
    retire = RetireRoute(owner_uid=owner_uid)
    match observed.route:
        case Unknown(reason=why):
            return _unread(f"the route, which can't be read: {hide_addresses(why)}")
        case Known(value=route) if not route.is_retired:
            return Step(action=retire, what="The route is retired, so that no request comes any more.")
        case Known():
            words = "Every gateway has confirmed that the route is retired."
            return _unconfirmed(observed) or Step(action=DeleteRoute(), what=words)
        case Absent():
            if _still_routed(observed):
                words = "A gateway still routes for the model: the route is written once more, as retired."
                return Step(action=retire, what=words)
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
        return _unread(f"the gateways, which can't be listed: {hide_addresses(observed.gateways.reason)}")
    confirmation = _confirmation(observed)
    if confirmation is None or confirmation.is_complete:
        return None
    for member in confirmation.missing:
        if (refusal := member.refusal(observed.key.name)) is not None:
            words = one_line(f"gateway {member.called}, which does not take the retired route: {refusal}")
            return Step(action=Wait(), what=words, reason=Reason.ROUTE_REFUSED)
    if confirmation.missing:
        names = ", ".join(sorted(member.called for member in confirmation.missing))
        return Step(action=Wait(), what=f"gateway {names} to confirm that the route is retired")
    return _unread(f"gateway {', '.join(sorted(member.name for member in confirmation.unread))}, which can't be read")


def _unread(what: str) -> Step:
    return Step(action=Wait(), what=what, reason=Reason.GATEWAY_UNREACHABLE, is_known=False)
