"""To zero only where every gateway is known to be idle and to hold requests; back for a request at any of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.virtual_world import Fault, Outage, VirtualWorld

from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.gateways import Gateways, GatewaySeen, MemberState
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.observed import Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

SCALING: dict[str, Any] = {"minReplicas": 0, "maxReplicas": 4, "target": {"ongoingRequests": 4}}
NAME = "digits"


@pytest.fixture
def world() -> VirtualWorld:
    """A model that may have no replica, with one."""
    made = VirtualWorld()
    made.apply(NAME, model={"uri": "file:///m/1"}, scaling=SCALING)
    made.settle()
    assert made.applications
    return made


def at_zero(world: VirtualWorld) -> bool:
    is_said = "atZeroSince" in world.models[NAME].status
    assert is_said == (not world.applications)
    return is_said


def look(world: VirtualWorld, rounds: int = 5) -> None:
    for _ in range(rounds):
        world.look()


def plan_of(world: VirtualWorld, seen: Observed) -> Plan:
    view = world.view(NAME)
    desired = build.build(view, seen.revisions, world.bounds, cluster=seen.placement)
    return planner.make(desired, seen, world.bounds, world.now)


def stop_clients(member: GatewaySeen) -> GatewaySeen:
    """The same gateway as it ends, after its last client has left."""
    assert isinstance(member.view, Known)
    view = Known(replace(member.view.value, connections=0))
    return replace(member, state=MemberState.TERMINATING, view=view)


def fall_idle(world: VirtualWorld) -> None:
    world.rest(NAME)
    look(world)
    assert at_zero(world)


def test_a_model_goes_to_zero_once_every_gateway_is_idle(world: VirtualWorld) -> None:
    world.gateways[0].idle.add(NAME)
    look(world)
    assert not at_zero(world)
    world.gateways[1].idle.add(NAME)
    look(world)
    assert at_zero(world)


def test_a_gateway_that_cannot_be_read_keeps_the_model_running(world: VirtualWorld) -> None:
    world.gateways[1].is_away = True
    world.rest(NAME)
    look(world)
    assert not at_zero(world)
    world.gateways[1].is_away = False
    look(world)
    assert at_zero(world)


def test_a_gateway_without_the_route_keeps_the_model_running(world: VirtualWorld) -> None:
    world.gateways[1].is_stuck = True
    world.change(NAME, "scaling.scaleToZero", {"holdSeconds": 30})
    world.rest(NAME)
    look(world)
    assert not at_zero(world)


def test_a_request_at_one_gateway_wakes_the_model_while_the_other_cannot_be_read(world: VirtualWorld) -> None:
    fall_idle(world)
    world.gateways[0].is_away = True
    world.hold(world.gateways[1], NAME, 1)
    look(world)
    assert world.applications
    assert world.gateways[1].waiting == {}


def test_the_hold_is_in_the_route_with_and_without_replicas(world: VirtualWorld) -> None:
    hold = {"requests": 320, "seconds": 60, "parallel": 64, "idleSeconds": 300}
    assert json.loads(world.routes[NAME])["hold"] == hold
    before = world.routes[NAME]
    fall_idle(world)
    assert world.routes[NAME] == before


def test_a_route_that_somebody_deleted_at_zero_is_written_again_without_a_replica(world: VirtualWorld) -> None:
    fall_idle(world)
    before = world.routes.pop(NAME)
    look(world)
    assert world.routes[NAME] == before
    assert at_zero(world)


@pytest.mark.parametrize("scaling", [{**SCALING, "minReplicas": 1}, {"replicas": 2}])
def test_requests_are_held_until_the_first_replica_of_a_model_that_leaves_zero_for_good(
    world: VirtualWorld, scaling: dict[str, Any]
) -> None:
    fall_idle(world)
    held = json.loads(world.routes[NAME])["hold"]
    world.change(NAME, "scaling", scaling)
    world.pass_model(NAME)
    world.pass_every_ray()
    next(iter(world.applications.values())).is_stuck = True
    look(world)
    assert json.loads(world.routes[NAME])["hold"] == held
    conditions = {each.type: (each.status, each.reason) for each in world.view(NAME).status.conditions}
    assert conditions["Available"] == ("True", Reason.SCALING_FROM_ZERO)
    is_rolled_out = "minReplicas" not in scaling
    assert is_rolled_out or conditions["Degraded"] == ("False", Reason.SCALING_FROM_ZERO)
    next(iter(world.applications.values())).is_stuck = False
    look(world)
    assert "hold" not in json.loads(world.routes[NAME])


def test_a_first_replica_that_does_not_come_is_waited_for_no_longer_than_a_rollout(world: VirtualWorld) -> None:
    world.change(NAME, "rollout", {"progressDeadlineSeconds": 60})
    fall_idle(world)
    world.change(NAME, "scaling", {"replicas": 1})
    world.pass_model(NAME)
    world.pass_every_ray()
    next(iter(world.applications.values())).is_stuck = True
    look(world, 70)
    assert "hold" not in json.loads(world.routes[NAME])


@pytest.mark.parametrize("changed", [{"seconds": 86400}, {"seconds": -1}, {"requests": "many"}, {"parallel": True}])
def test_a_hold_that_no_deployment_can_ask_for_is_not_kept(changed: dict[str, Any]) -> None:
    hold = {"requests": 320, "seconds": 60, "parallel": 64, "idleSeconds": 300}
    assert RouteText(text=json.dumps({"hold": hold})).hold is not None
    assert RouteText(text=json.dumps({"hold": {**hold, **changed}})).hold is None


def test_a_model_that_is_stopped_at_zero_holds_no_request(world: VirtualWorld) -> None:
    fall_idle(world)
    world.change(NAME, "scaling", {"replicas": 0})
    look(world)
    assert "hold" not in json.loads(world.routes[NAME])


def test_a_model_that_never_held_requests_does_not_begin_to_when_its_replicas_are_lost(world: VirtualWorld) -> None:
    world.change(NAME, "scaling", {"replicas": 1})
    look(world)
    world.stop_replicas(NAME, 1)
    look(world)
    assert next(iter(world.applications.values())).running == 0
    assert "hold" not in json.loads(world.routes[NAME])


def test_a_status_that_cannot_remember_it_keeps_the_model_running(world: VirtualWorld) -> None:
    world.pruned = frozenset({"atZeroSince"})
    world.rest(NAME)
    look(world)
    assert world.applications


def test_a_replica_that_starts_slowly_is_awaited_for_the_progress_deadline(world: VirtualWorld) -> None:
    world.change(NAME, "rollout", {"progressDeadlineSeconds": 60})
    fall_idle(world)
    world.hold(world.gateways[0], NAME, 1)
    world.pass_model(NAME)
    world.pass_every_ray()
    next(iter(world.applications.values())).is_stuck = True
    world.gateways[0].waiting.clear()  # the request has waited for its time
    world.rest(NAME)
    look(world, 50)
    assert not at_zero(world)
    look(world, 20)
    assert at_zero(world)


def test_a_replica_that_was_ready_keeps_an_idle_model_running_no_longer(world: VirtualWorld) -> None:
    fall_idle(world)
    world.hold(world.gateways[0], NAME, 1)
    world.look()
    world.tick()
    assert "replicasMissingSince" in world.models[NAME].status
    assert next(iter(world.applications.values())).running == 1
    world.rest(NAME)
    world.pass_model(NAME)
    assert "atZeroSince" in world.models[NAME].status


def test_a_request_wakes_the_model_while_a_new_revision_has_no_place(world: VirtualWorld) -> None:
    fall_idle(world)
    world.begin(Outage.CLASS)
    world.change(NAME, "model.uri", "file:///m/2")
    look(world)
    assert at_zero(world)
    world.hold(world.gateways[1], NAME, 1)
    look(world)
    assert [application.uri for application in world.applications.values()] == ["file:///m/1"]
    assert world.gateways[1].waiting == {}
    world.settle()
    assert world.models[NAME].status["model"]["uri"] == "file:///m/2"


def test_a_rollback_without_a_place_for_what_is_desired_starts_no_replica(world: VirtualWorld) -> None:
    first = world.models[NAME].status["stableRevision"]
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    fall_idle(world)
    world.begin(Outage.CLASS)
    world.change(NAME, "model.uri", "file:///m/3")
    world.ask(NAME, "Rollback", revision=first)
    look(world)
    assert at_zero(world)


def test_a_request_wakes_the_model_while_a_new_revision_is_refused(world: VirtualWorld) -> None:
    fall_idle(world)
    world.change(NAME, "model.uri", "file:///m/2")
    world.hold(world.gateways[1], NAME, 1)
    for _ in range(5):
        world.pass_model(NAME, Fault.REFUSED)
        world.pass_every_ray()
        world.tick()
    assert world.plans[-1].reason is Reason.REVISION_CREATED
    assert [application.uri for application in world.applications.values()] == ["file:///m/1"]
    assert world.gateways[1].waiting == {}


def test_a_model_keeps_its_replicas_while_every_gateway_ends(world: VirtualWorld) -> None:
    world.rest(NAME)
    seen = world.observe(NAME)
    assert isinstance(seen.gateways, Known)
    assert plan_of(world, seen).reason is Reason.AT_ZERO
    ending = Gateways(members=tuple(stop_clients(member) for member in seen.gateways.value.members))
    assert plan_of(world, replace(seen, gateways=Known(ending))).serving.at_zero_since is None
