"""One model in the virtual world, round by round."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.virtual_world import VirtualWorld

from fairlead_operator.api.status import Rollout
from fairlead_operator.state import actions
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import RouteText

NAME = "digits"


def serving(world: VirtualWorld) -> Serving:
    """What its status remembers."""
    return recall(world.view(NAME).status)


def round_of(world: VirtualWorld) -> actions.Plan:
    """A pass of the model, one of its Ray cluster, and a tick of the clock."""
    plan = world.pass_model(NAME)
    world.pass_every_ray()
    world.tick()
    return plan


def until(world: VirtualWorld, is_so: Callable[[], bool]) -> VirtualWorld:
    """The same world, as soon as it is so."""
    for _ in range(100):
        if is_so():
            return world
        round_of(world)
    raise AssertionError(f"never so; last plan: {world.plans[-1]}")


def rollout(world: VirtualWorld) -> Rollout:
    memory = serving(world).rollout
    assert memory is not None
    return memory


def share(world: VirtualWorld) -> int:
    """The candidate's weight in the written table."""
    return RouteText(text=world.routes[NAME]).weights().get(serving(world).candidate or "", 0)
