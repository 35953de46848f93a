"""The end of a route: what nobody marked takes nothing away, and what is left of a model that is gone is retired."""

from __future__ import annotations

import pytest
from tests.support.one_model import NAME, round_of, until
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.state.route import RouteText


@pytest.fixture
def world() -> VirtualWorld:
    made = VirtualWorld()
    made.apply(NAME, model={"uri": "file:///m/1"})
    made.settle()
    return made


def is_retired(world: VirtualWorld) -> bool:
    return NAME in world.routes and RouteText(text=world.routes[NAME]).is_retired


def test_a_route_that_somebody_deletes_stays_at_the_gateways_and_is_written_again(world: VirtualWorld) -> None:
    before = world.routes[NAME]
    world.prune_route(NAME)
    world.tick()
    assert [gateway.routes[NAME] for gateway in world.gateways] == [before, before]
    world.settle()
    assert world.routes[NAME] == before


def test_a_route_is_retired_and_deleted_only_when_every_gateway_has_confirmed(world: VirtualWorld) -> None:
    world.gateways[1].is_stuck = True
    world.delete(NAME)
    until(world, lambda: is_retired(world))
    for _ in range(3):
        round_of(world)
    assert is_retired(world), "one gateway has not confirmed"
    world.settle()
    assert NAME not in world.models
    assert not world.routes


def test_the_route_of_a_model_that_was_forced_away_is_retired_at_the_gateways(world: VirtualWorld) -> None:
    world.models[NAME].finalizers = ()
    world.delete(NAME)
    assert NAME not in world.routes, "the garbage collector took it, unmarked"
    assert all(NAME in gateway.routes for gateway in world.gateways)
    world.settle()
    assert not world.routes
    assert not any(gateway.routes for gateway in world.gateways)
