"""An operator that is newer than its CRD: the API server drops a field of every status that it writes."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from tests.support import client_oracle
from tests.support.virtual_world import VirtualWorld
from tests.unit.operator.plan.test_invariants import PRUNED, STARTS, STRATEGIES, rest

from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT, RouteText

NAME = "digits"
ROUNDS = 120
LAST = 40


def served(strategy: str) -> VirtualWorld:
    world = VirtualWorld()
    rollout = {"strategy": strategy.split()[0], "progressDeadlineSeconds": 30, **STRATEGIES[strategy]}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2}, rollout=rollout)
    world.settle()
    return world


def outside_writes(world: VirtualWorld, *, since: int) -> Counter[str]:
    return Counter(write.kind for write in world.writes[since:] if write.kind != "status")


@pytest.mark.parametrize(
    ("strategy", "uri"),
    [
        ("RollingUpdate", "file:///m/2"),
        ("Canary analysed", "file:///m/failing"),
        pytest.param("RollingUpdate", "file:///m/bad", marks=pytest.mark.nightly),
        pytest.param("RollingUpdate", "file:///m/failing", marks=pytest.mark.nightly),
        pytest.param("Canary analysed", "file:///m/2", marks=pytest.mark.nightly),
        pytest.param("Canary analysed", "file:///m/bad", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("field", PRUNED)
def test_a_dropped_field_causes_no_loop_of_writes_and_clients_are_answered(field: str, strategy: str, uri: str) -> None:
    world = served(strategy)
    world.pruned = frozenset({field})
    world.load = 400
    world.change(NAME, "model.uri", uri)
    for _ in range(ROUNDS):
        world.look()
        assert client_oracle.are_answered(world, NAME), world.plans[-1]
    before = len(world.writes)
    for _ in range(LAST):
        world.look()
    assert outside_writes(world, since=before) == {}, world.writes[before:]


@pytest.mark.parametrize("field", PRUNED)
def test_once_the_crd_is_updated_the_rollout_ends(field: str) -> None:
    world = served("RollingUpdate")
    world.pruned = frozenset({field})
    world.change(NAME, "model.uri", "file:///m/2")
    for _ in range(30):
        world.look()
    world.settle()  # the CRD has every field again
    assert world.view(NAME).spec.model.uri in next(iter(world.applications.values())).uri
    assert len(world.applications) == 1


def test_a_dropped_field_is_named_in_a_condition() -> None:
    world = served("RollingUpdate")
    world.pruned = frozenset({"rollout"})
    world.change(NAME, "model.uri", "file:///m/2")
    for _ in range(5):
        world.look()
    reasons = {c.reason: c.message for c in world.view(NAME).status.conditions}
    assert "status.rollout" in reasons[Reason.CRD_OUTDATED]


@pytest.mark.parametrize("passes", [0, 1, 3])
@pytest.mark.parametrize("start", [name for name in sorted(STARTS) if name != "fresh"])
def test_a_rollout_whose_memory_an_older_crd_takes_away_gives_all_traffic_to_the_stable_revision(
    start: str, passes: int
) -> None:
    world = copy.deepcopy(STARTS[start]())
    world.load = 400
    for _ in range(passes):
        world.look()
    for one in world.all:
        one.pruned = frozenset({"rollout"})
    stable = world.view(NAME).serving.stable
    for _ in range(ROUNDS):
        world.look()
        assert client_oracle.are_answered(world, NAME), world.plans[-1]
    assert world.view(NAME).serving.stable == stable
    reached = [gateway for gateway in world.gateways if not gateway.is_away]
    assert reached
    assert all(RouteText(text=gateway.routes[NAME]).weights() == {stable: FULL_WEIGHT} for gateway in reached)
    before = len(world.writes)
    for _ in range(LAST):
        world.look()
    assert world.writes[before:] == []
    rest(world)  # the CRD has every field again, and every gateway can be read


@pytest.mark.parametrize("passes", range(7))
def test_a_recreate_whose_memory_is_taken_away_leaves_a_revision_that_serves(passes: int) -> None:
    world = served("Recreate")
    if passes == 0:
        world.pruned = frozenset({"rollout"})
    world.change(NAME, "model.uri", "file:///m/2")
    for _ in range(passes):
        world.look()
    world.pruned = frozenset({"rollout"})
    for _ in range(ROUNDS):
        world.look()
    assert client_oracle.are_answered(world, NAME), world.plans[-1]
    rest(world)  # the CRD has every field again


def test_without_its_memory_no_revision_gets_traffic_that_is_not_ready_though_a_third_is_desired() -> None:
    world = copy.deepcopy(STARTS["in batches"]())
    world.lose_ray()
    world.tick()
    world.change(NAME, "model.uri", "file:///m/3")
    world.pass_model(NAME)
    world.pruned = frozenset({"rollout"})
    for _ in range(6):  # each route that is written is checked for it
        world.pass_model(NAME)
        world.tick()
    rest(world)
