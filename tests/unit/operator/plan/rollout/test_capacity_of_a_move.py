"""The room on another Ray cluster, known before a model moves there: what stops on the one it leaves makes none."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.api.status import Verb
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall

NAME = "digits"
BY_BATCHES = {"maxSurge": 1, "maxUnavailable": 0}
STRATEGIES = [
    {},
    BY_BATCHES,
    {"onInsufficientCapacity": "Recreate"},
    {"strategy": "Recreate"},
    {"strategy": "Canary", "steps": [{"setWeight": 25}]},
]


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def moved(cores: float | None, rollout: dict[str, Any]) -> VirtualWorld:
    """Two replicas of half a core serve on `old`; the model is to run on `new`, which has so many cores."""
    world = VirtualWorld(clusters=("old", "new"))
    world.clusters["old"].cores = 1.0
    world.clusters["new"].cores = cores
    world.apply(
        NAME,
        model={"uri": "file:///m/1"},
        scaling={"replicas": 2},
        serving={"resources": {"cpu": "500m", "memory": "1Gi"}},
        rollout={"progressDeadlineSeconds": 60, **rollout},
    )
    world.settle()
    world.placement = "new"
    world.settle()
    return world


def place(world: VirtualWorld) -> str:
    return world.models[NAME].revisions[str(serving(world).stable)].cluster


@pytest.mark.parametrize("rollout", STRATEGIES)
def test_a_model_moves_where_all_its_replicas_fit_however_full_the_cluster_is_that_it_leaves(
    rollout: dict[str, Any],
) -> None:
    world = moved(1.0, rollout)
    assert (place(world), serving(world).rollout) == ("new", None)
    assert not world.clusters["old"].applications


@pytest.mark.parametrize("rollout", STRATEGIES)
def test_a_move_to_a_cluster_without_room_for_all_replicas_changes_nothing(rollout: dict[str, Any]) -> None:
    world = moved(0.5, rollout)
    assert (place(world), serving(world).rollout, serving(world).quarantine) == ("old", None, ())
    assert not world.clusters["new"].applications
    assert [app.running for app in world.clusters["old"].applications.values()] == [2]
    plan = world.pass_model(NAME)
    assert plan.reason is Reason.INSUFFICIENT_CAPACITY
    assert "needs room for 2 replicas (0.5 CPU, 1024 MiB each); Ray cluster new has room for 1." in plan.message
    assert "stops" not in plan.message, "stopping what serves on another cluster makes no room"
    world.advance(86400)
    world.settle()
    assert (place(world), serving(world).quarantine) == ("old", ())


@pytest.mark.parametrize("rollout", STRATEGIES)
def test_it_moves_once_there_is_room(rollout: dict[str, Any]) -> None:
    world = moved(0.5, rollout)
    world.clusters["new"].cores = 1.0
    world.settle()
    assert place(world) == "new"


@pytest.mark.parametrize("rollout", STRATEGIES)
def test_a_cluster_of_which_nobody_knows_what_it_holds_holds_nothing_up(rollout: dict[str, Any]) -> None:
    assert place(moved(None, rollout)) == "new"


@pytest.mark.parametrize("is_full", [False, True])
def test_a_rollback_to_the_cluster_that_was_left_looks_at_the_room_there(is_full: bool) -> None:
    world = moved(1.0, {})
    if is_full:
        world.clusters["old"].cores = 0.5
    world.ask(NAME, Verb.ROLLBACK)
    world.settle()
    assert place(world) == ("new" if is_full else "old")
    if is_full:
        assert "Ray cluster old has room for 1." in world.pass_model(NAME).message
