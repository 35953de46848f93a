"""A deletion ends, whatever has gone before it, and leaves nothing that can be stopped."""

from __future__ import annotations

import pytest
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.state import actions
from fairlead_operator.state.consequences import CONSEQUENCES
from fairlead_operator.state.observed import RouteWrites
from fairlead_operator.state.reasons import Reason

MODELS = ("digits", "digits--two", "sentiment")


def served() -> VirtualWorld:
    world = VirtualWorld()
    for name in MODELS:
        world.apply(name, model={"uri": "file:///m/1"}, scaling={"replicas": 2})
    world.settle()
    return world


def rounds_until_gone(world: VirtualWorld, most: int) -> int:
    for number in range(most):
        if not world.models:
            return number
        for name in [*world.models]:
            world.pass_model(name)
        world.pass_every_ray()
        world.tick()
    raise AssertionError(f"still there after {most} s: {world.plans[-1]}")


def take_away(world: VirtualWorld, *, ray: bool, gateways: bool) -> None:
    for gateway in world.gateways:
        gateway.is_away = gateways
    for cluster in world.clusters.values():
        cluster.is_away = ray


@pytest.mark.parametrize(("ray", "gateways"), [(True, False), (False, True), (True, True)])
def test_a_namespace_that_lost_ray_and_gateways_first_is_gone_within_a_minute(ray: bool, gateways: bool) -> None:
    world = served()
    take_away(world, ray=ray, gateways=gateways)
    for name in MODELS:
        world.delete(name)
    assert rounds_until_gone(world, most=120) <= 60
    warnings = {event.reason for event in world.events if event.type == "Warning"}
    assert "CleanupIncomplete" in warnings
    message = next(event.message for event in world.events if event.reason == "CleanupIncomplete")
    assert "Suspended" not in {event.reason for event in world.events}
    assert message.endswith(CONSEQUENCES[Reason.CLEANUP_INCOMPLETE].advice), message


def test_what_was_left_behind_is_stopped_once_its_cluster_answers_again() -> None:
    world = served()
    take_away(world, ray=True, gateways=True)
    world.delete("digits")
    rounds = 0
    while "digits" in world.models:
        world.pass_model("digits")
        world.pass_every_ray()
        world.tick()
        rounds += 1
        assert rounds < 100
    assert any("digits--" in name and "two" not in name for name in world.applications)
    take_away(world, ray=False, gateways=False)
    world.settle()
    left = [name for name in world.applications if name.startswith("default--digits--") and "two" not in name]
    assert left == []
    assert all("digits" not in gateway.routes for gateway in world.gateways)


def test_an_operator_that_was_away_asks_again_before_it_gives_anything_up() -> None:
    world = served()
    take_away(world, ray=True, gateways=True)
    world.delete("digits")
    world.pass_model("digits")
    world.advance(86400)
    plans = [world.pass_model("digits") for _ in range(3)]
    assert all(isinstance(plan.action, actions.Wait | actions.DeleteRoute | actions.NudgeServe) for plan in plans)
    take_away(world, ray=False, gateways=False)
    rounds_until_gone_of(world, "digits", most=20)
    assert "CleanupIncomplete" not in {event.reason for event in world.events}


@pytest.mark.parametrize("writes", [RouteWrites.FORBIDDEN, RouteWrites.ENDING])
def test_routes_that_went_first_and_can_not_be_written_again_hold_up_no_deletion(writes: RouteWrites) -> None:
    """`kubectl delete namespace` takes every route at once, unmarked, and the operator's binding."""
    world = served()
    world.route_writes = writes
    for name in MODELS:
        world.delete(name)
        world.prune_route(name)
    assert rounds_until_gone(world, most=120) <= 60
    assert world.applications == {}, "the replicas are stopped all the same"
    assert {event.reason for event in world.events if event.type == "Warning"} == {"CleanupIncomplete"}


def rounds_until_gone_of(world: VirtualWorld, name: str, most: int) -> None:
    for _ in range(most):
        if name not in world.models:
            return
        world.pass_model(name)
        world.pass_every_ray()
        world.tick()
    raise AssertionError(f"still there after {most} s: {world.plans[-1]}")


def test_a_gateway_that_answers_but_never_drops_the_route_holds_nothing_for_ever() -> None:
    world = served()
    world.gateways[0].is_stuck = True
    world.delete("digits")
    rounds_until_gone_of(world, "digits", most=700)


def test_with_everything_there_nothing_is_left_and_nobody_is_warned() -> None:
    world = served()
    for name in MODELS:
        world.delete(name)
    assert rounds_until_gone(world, most=60) < 20
    assert world.applications == {}
    assert [event for event in world.events if event.type == "Warning"] == []
