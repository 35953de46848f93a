"""A gateway that is neither ready nor readable: the condition says which pod the rollout waits for, and how long."""

from __future__ import annotations

from dataclasses import replace

from tests.support.one_model import NAME, serving, until
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.gateways import Gateways, GatewaySeen, MemberState
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason

SILENT = GatewaySeen(name="fairlead-gateway-7", state=MemberState.TERMINATING, view=Unknown("timed out"))


def connecting() -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    return until(world, lambda: serving(world).phase is Phase.CONNECTING and NAME in world.routes)


def planned(world: VirtualWorld, *others: GatewaySeen) -> Plan:
    observed = world.observe(NAME)
    assert isinstance(observed.gateways, Known)
    assert isinstance(observed.object, Known)
    members = (*observed.gateways.value.members, *others)
    observed = replace(observed, gateways=Known(Gateways(members=members)))
    desired = build.build(observed.object.value, observed.revisions, world.bounds, cluster=names.DEFAULT_CLUSTER)
    return planner.make(desired, observed, world.bounds, world.now)


def test_it_is_waited_for_by_name() -> None:
    plan = planned(connecting(), SILENT)
    assert plan.reason is Reason.GATEWAY_UNREACHABLE
    assert "fairlead-gateway-7 is terminating or not ready, and cannot be read: " in plan.message
    assert "waits for it up to 180 s" in plan.message


def test_without_it_the_rollout_goes_on() -> None:
    assert planned(connecting()).reason is not Reason.GATEWAY_UNREACHABLE
