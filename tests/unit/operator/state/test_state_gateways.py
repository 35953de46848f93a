"""What "every gateway has confirmed" means."""

from __future__ import annotations

import pytest

from fairlead_operator.state.gateways import Gateways, GatewaySeen, MemberState
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.route import GatewayView, RouteLive

NEW, OLD = (GatewayView(id=word, routes={"m": RouteLive(version=word, revisions={})}) for word in ("new", "old"))


def seen(
    view: GatewayView | None, state: MemberState = MemberState.READY, *, connections: int | None = None
) -> GatewaySeen:
    if view is None:
        return GatewaySeen(name="g", state=state, view=Unknown("it timed out"))
    known = GatewayView(id=view.id, routes=view.routes, connections=connections)
    return GatewaySeen(name="g", state=state, view=Known(known))


TERMINATING = MemberState.TERMINATING


@pytest.mark.parametrize(
    ("members", "missing", "unread"),
    [
        pytest.param([], 0, 0, id="one that is gone has nothing to confirm"),
        pytest.param([seen(NEW), seen(NEW)], 0, 0, id="all have it"),
        pytest.param([seen(NEW), seen(OLD)], 1, 0, id="one has another"),
        pytest.param([seen(OLD, connections=0)], 1, 0, id="a ready one without clients still gets them"),
        pytest.param([seen(NEW), seen(None)], 0, 1, id="one can't be asked"),
        pytest.param([seen(NEW), seen(OLD, TERMINATING, connections=0)], 0, 0, id="one that ends has no client left"),
        pytest.param([seen(NEW), seen(OLD, TERMINATING, connections=2)], 1, 0, id="one that ends has clients"),
        pytest.param([seen(NEW), seen(OLD, TERMINATING)], 1, 0, id="one that ends doesn't say"),
        pytest.param([seen(NEW), seen(NEW, TERMINATING, connections=2)], 0, 0, id="one that ends has it as well"),
        pytest.param([seen(NEW), seen(None, TERMINATING)], 0, 1, id="one that ends can't be asked"),
    ],
)
def test_every_gateway_that_may_send_requests_has_to_confirm(
    members: list[GatewaySeen], missing: int, unread: int
) -> None:
    found = Gateways(members=tuple(members)).confirmation(lambda view: view.routes["m"].version == "new")
    assert (len(found.missing), len(found.unread)) == (missing, unread)
    assert found.is_complete == (not missing and not unread)


def test_an_unreadable_gateway_does_not_hide_the_others() -> None:
    gateways = Gateways(members=(seen(NEW), seen(None)))
    assert gateways.ready is None
    assert [member.view for member in gateways.members if isinstance(member.view, Known)]


def test_a_terminating_gateway_counts_for_requests_in_flight_but_not_for_readiness() -> None:
    gateways = Gateways(members=(seen(NEW), seen(OLD, TERMINATING)))
    assert [view.id for view in gateways.ready or ()] == ["new"]
    assert [view.id for view in gateways.everyone or ()] == ["new", "old"]
