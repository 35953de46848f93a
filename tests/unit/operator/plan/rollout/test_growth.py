"""A rollout of a model that scales with its load: what the candidate needs grows with the load, before the traffic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.status import Verb
from fairlead_operator.plan.rollout import growth
from fairlead_operator.state.route import FULL_WEIGHT, RouteText

CANARY: dict[str, Any] = {"strategy": "Canary", "steps": [{"setWeight": 5}, {"pause": {}}, {"setWeight": 50}]}
PAUSED_AT_HALF: dict[str, Any] = {"strategy": "Canary", "steps": [{"setWeight": 50}, {"pause": {}}]}
BLUE_GREEN: dict[str, Any] = {"strategy": "BlueGreen"}


def begun_at_night(rollout: dict[str, Any]) -> VirtualWorld:
    """One stable replica, and a second revision that waits for a person."""
    world = VirtualWorld()
    scaling = {"minReplicas": 1, "maxReplicas": 20, "target": {"ongoingRequests": 4}}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling=scaling, rollout={"progressDeadlineSeconds": 60, **rollout})
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    return world


def load(world: VirtualWorld, number: int, replicas: int) -> None:
    world.aim(NAME, number, replicas)
    world.settle()


def weight_of(world: VirtualWorld, revision: str) -> int:
    return RouteText(text=world.routes[NAME]).weights().get(revision, 0)


def bounds(world: VirtualWorld, revision: str) -> tuple[int, int]:
    config = world.applications[names.serve_application(NAMESPACE, NAME, revision)].config
    scaling = config["deployments"][0]["autoscaling_config"]
    return int(scaling["min_replicas"]), int(scaling["max_replicas"])


def least(world: VirtualWorld, revision: str) -> int:
    return bounds(world, revision)[0]


def running_as_traffic_rises(world: VirtualWorld, candidate: str) -> list[tuple[int, int]]:
    """The candidate's replicas and its weight, each time that the weight had risen, until it has all traffic."""
    seen = [(world.running(NAME, candidate), weight_of(world, candidate))]

    def is_there() -> bool:
        weight = weight_of(world, candidate)
        if weight > seen[-1][1]:
            seen.append((world.running(NAME, candidate), weight))
        return weight == FULL_WEIGHT

    until(world, is_there)
    return seen[1:]


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL])
@pytest.mark.parametrize("rollout", [CANARY, BLUE_GREEN], ids=["Canary", "BlueGreen"])
def test_a_rollout_that_began_at_night_and_goes_on_at_noon_has_the_replicas_of_noon(
    rollout: dict[str, Any], verb: Verb
) -> None:
    world = begun_at_night(rollout)
    candidate, stable = str(serving(world).candidate), str(serving(world).stable)
    load(world, 1, 12)
    assert (world.running(NAME, stable), world.running(NAME, candidate)) == (12, 1)
    world.ask(NAME, verb)
    for running, weight in running_as_traffic_rises(world, candidate):
        assert running >= 12 * weight / FULL_WEIGHT
        assert world.running(NAME, stable) >= 12


def test_half_of_the_traffic_shows_half_of_the_load() -> None:
    world = begun_at_night(PAUSED_AT_HALF)
    candidate = str(serving(world).candidate)
    load(world, 1, 6)
    load(world, 2, 6)
    world.ask(NAME, Verb.PROMOTE)
    assert running_as_traffic_rises(world, candidate) == [(12, FULL_WEIGHT)]


def test_load_that_grows_while_the_candidate_gets_its_replicas_is_counted() -> None:
    world = begun_at_night(BLUE_GREEN)
    candidate = str(serving(world).candidate)
    load(world, 1, 6)
    world.ask(NAME, Verb.PROMOTE_FULL)
    until(world, lambda: world.running(NAME, candidate) == 3)
    world.aim(NAME, 1, 9)
    assert running_as_traffic_rises(world, candidate) == [(9, FULL_WEIGHT)]


def test_load_that_ends_takes_nothing_from_what_the_rollout_works_with() -> None:
    world = begun_at_night(CANARY)
    candidate, stable = str(serving(world).candidate), str(serving(world).stable)
    load(world, 1, 12)
    world.ask(NAME, Verb.PROMOTE)
    until(world, lambda: least(world, candidate) > 1)
    before = (least(world, stable), least(world, candidate))
    world.aim(NAME, 1, 1)
    for _ in range(10):
        round_of(world)
        if serving(world).candidate is None:
            break
        now = (least(world, stable), least(world, candidate))
        assert now >= before
        before = now


def test_a_restarted_operator_reads_the_grown_number_from_the_status() -> None:
    world = begun_at_night(BLUE_GREEN)
    load(world, 1, 12)
    world.ask(NAME, Verb.PROMOTE_FULL)
    until(world, lambda: world.running(NAME, str(serving(world).candidate)) == 3)
    rollout = serving(world).rollout
    assert rollout is not None
    assert rollout.scaled_replicas == 12


@given(
    before=st.integers(1, 50),
    load_of=st.integers(0, 100),
    weight=st.integers(0, FULL_WEIGHT - 1),
)
def test_it_is_enough_for_all_traffic_and_counts_a_load_once(before: int, load_of: int, weight: int) -> None:
    def replicas(count: int) -> tuple[growth.Present, growth.Present]:
        rest = FULL_WEIGHT - weight
        floor = -(-count * weight // FULL_WEIGHT)
        return (
            growth.Present(least=count, now=max(count, -(-load_of * rest // FULL_WEIGHT))),
            growth.Present(least=max(1, floor), now=max(1, floor, -(-load_of * weight // FULL_WEIGHT))),
        )

    stable, candidate = replicas(before)
    found = max(before, growth.total(stable, candidate, weight))
    assert found >= stable.now
    assert 2 * found >= load_of
    larger, other = replicas(found)
    assert growth.total(larger, other, weight) <= found


BATCHES: dict[str, Any] = {"rollingUpdate": {"surge": 1}}


def batches_of_four(**rollout: Any) -> VirtualWorld:
    """A load that needs four replicas, and a second revision that replaces them one by one."""
    world = VirtualWorld()
    scaling = {"minReplicas": 1, "maxReplicas": 10, "target": {"ongoingRequests": 4}}
    desired = {"progressDeadlineSeconds": 60, **BATCHES, **rollout}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling=scaling, rollout=desired)
    world.settle()
    load(world, 1, 4)
    world.change(NAME, "model.uri", "file:///m/2")
    return world


def held_at_half() -> VirtualWorld:
    """Two of four batches are done, and a person holds the rollout."""
    world = batches_of_four()
    until(world, lambda: weight_of(world, str(serving(world).candidate)) == FULL_WEIGHT // 2)
    world.change(NAME, "rollout.paused", True)
    for _ in range(5):
        round_of(world)
    return world


def test_while_batches_are_held_the_stable_revision_keeps_what_the_batch_left_it() -> None:
    world = held_at_half()
    stable = str(serving(world).stable)
    assert bounds(world, stable)[0] == bounds(world, stable)[1] < 4


def test_load_that_grows_while_batches_are_held_scales_both_revisions() -> None:
    world = held_at_half()
    stable, candidate = str(serving(world).stable), str(serving(world).candidate)
    least_of_stable = bounds(world, stable)[0]
    load(world, 2, 5)
    assert world.running(NAME, candidate) == 5
    assert bounds(world, stable) == (least_of_stable, 10)
    load(world, 1, 5)
    assert world.running(NAME, stable) == 5


def test_once_the_load_has_fallen_again_batches_take_what_is_theirs() -> None:
    world = held_at_half()
    stable = str(serving(world).stable)
    before = bounds(world, stable)
    load(world, 2, 5)
    load(world, 1, 5)
    load(world, 2, 1)
    assert bounds(world, stable) == before
    world.change(NAME, "rollout.paused", False)
    world.settle()
    assert world.models[NAME].revisions[str(serving(world).stable)].number == 2


def test_batches_go_on_under_a_load_that_has_grown() -> None:
    world = held_at_half()
    candidate = str(serving(world).candidate)
    load(world, 2, 5)
    load(world, 1, 5)
    world.change(NAME, "rollout.paused", False)
    world.settle()
    assert serving(world).stable == candidate
    assert world.running(NAME, candidate) >= 5
    assert bounds(world, candidate) == (1, 10)


def test_a_revision_that_batches_promoted_scales_while_the_one_before_drains() -> None:
    world = batches_of_four()
    until(world, lambda: serving(world).phase is Phase.DRAINING)
    assert bounds(world, str(serving(world).stable)) == (4, 10)


def test_a_stable_revision_that_got_all_its_replicas_back_scales_with_its_load() -> None:
    """The strategy changed amid batches: nothing is taken from it any more, and the new steps may pause for days."""
    world = held_at_half()
    world.change(NAME, "rollout.rollingUpdate", None)
    world.change(NAME, "rollout.steps", [{"setWeight": 50}, {"setWeight": 40}, {"setWeight": 30}, {"pause": {}}])
    world.change(NAME, "rollout.strategy", "Canary")
    world.change(NAME, "rollout.paused", False)
    world.settle()
    assert bounds(world, str(serving(world).stable)) == (4, 10)
