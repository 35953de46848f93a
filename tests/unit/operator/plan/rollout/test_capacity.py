"""The room that a rollout needs, known before it starts."""

from __future__ import annotations

from typing import Any

from tests.support.virtual_world import VirtualWorld

from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall

NAME = "digits"


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def changed(cores: float | None, *, cpu: str = "500m", **rollout: Any) -> VirtualWorld:
    """Two replicas of half a core serve; another revision is desired on a cluster of so many cores."""
    world = VirtualWorld()
    world.cores = cores
    world.apply(
        NAME,
        model={"uri": "file:///m/1"},
        scaling={"replicas": 2},
        rollout={"progressDeadlineSeconds": 60, **rollout},
    )
    world.settle()
    world.change(NAME, "serving.resources.cpu", cpu)
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    return world


def number(world: VirtualWorld) -> int:
    return world.models[NAME].revisions[str(serving(world).stable)].number


def test_what_fits_is_rolled_out_and_so_is_what_nobody_knows() -> None:
    assert number(changed(2.0)) == 2
    assert number(changed(None)) == 2


def test_what_does_not_fit_waits_starts_nothing_and_says_by_how_much() -> None:
    world = changed(1.5)
    assert (number(world), serving(world).rollout, len(world.applications)) == (1, None, 1)
    plan = world.pass_model(NAME)
    assert plan.reason is Reason.INSUFFICIENT_CAPACITY
    assert "(0.5 CPU, 512 MiB each); the Ray cluster has room for 1." in plan.message


def test_each_stage_of_a_model_needs_room_of_its_own() -> None:
    def staged(cores: float) -> VirtualWorld:
        world = changed(1.0)
        world.cores = cores
        world.change(NAME, "optimization", {"parallelism": {"stages": 3}})
        world.settle()
        return world

    world = staged(3.9)
    assert (number(world), serving(world).rollout) == (1, None)
    assert "(0.5 CPU, 512 MiB for each of 3 stages); the Ray cluster has room for 1." in world.pass_model(NAME).message
    assert number(staged(4.0)) > 1


def test_it_waits_beyond_every_deadline_and_begins_once_there_is_room() -> None:
    world = changed(1.5)
    writes = len(world.writes)
    world.advance(86400)
    world.settle()
    assert (number(world), serving(world).quarantine, world.writes[writes:]) == (1, (), [])
    world.cores = 2.0
    world.settle()
    assert number(world) == 2


def test_what_serves_is_looked_after_meanwhile() -> None:
    world = changed(1.0)
    world.change(NAME, "scaling.replicas", 1)
    for _ in range(10):
        world.pass_model(NAME)
        world.pass_ray()
        world.tick()
    assert [app.running for app in world.applications.values()][:1] == [1]


def test_the_old_one_stops_first_where_that_is_desired_and_makes_enough_room() -> None:
    world = changed(1.5, onInsufficientCapacity="Recreate")
    assert number(world) == 2
    assert any(event.reason is Reason.INSUFFICIENT_CAPACITY for event in world.events)


def test_the_old_one_never_stops_for_what_does_not_fit_then_either() -> None:
    world = changed(1.5, cpu="1", onInsufficientCapacity="Recreate")
    assert (number(world), len(world.applications)) == (1, 1)
    assert "may not make enough room" in world.pass_model(NAME).message


def test_there_is_room_enough_for_the_old_ones_that_stay_beside_a_recreated_one_where_it_fits_anyway() -> None:
    world = changed(2.0, onInsufficientCapacity="Recreate")
    assert not any(event.reason is Reason.INSUFFICIENT_CAPACITY for event in world.events)
