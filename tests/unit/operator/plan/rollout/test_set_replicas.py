"""A Canary that runs fewer replicas than the stable revision, until it is to take all traffic."""

from __future__ import annotations

from typing import Any

from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import Verb
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

STEPS: list[dict[str, Any]] = [
    {"setReplicas": 1},
    {"setWeight": 10},
    {"pause": {}},
    {"setReplicas": 3},
    {"setWeight": 50},
    {"pause": {}},
]


def rolling(steps: list[dict[str, Any]] = STEPS, **spec: Any) -> VirtualWorld:
    """Four stable replicas, and a second revision as far as it gets by itself."""
    world = VirtualWorld()
    rollout = {"progressDeadlineSeconds": 30, "strategy": "Canary", "steps": steps}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 4}, rollout=rollout, **spec)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    return world


def replicas(world: VirtualWorld, revision: str | None) -> int:
    return world.applications[names.serve_application(NAMESPACE, NAME, str(revision))].target


def share(world: VirtualWorld) -> int:
    return RouteText(text=world.routes[NAME]).weights().get(serving(world).candidate or "", 0)


def promote(world: VirtualWorld) -> None:
    world.ask(NAME, Verb.PROMOTE)
    world.settle()


def test_the_candidate_has_as_many_replicas_as_its_step_says_and_in_the_end_all() -> None:
    world = rolling()
    assert (replicas(world, serving(world).candidate), share(world)) == (1, 1000)
    assert replicas(world, serving(world).stable) == 4
    promote(world)
    assert (replicas(world, serving(world).candidate), share(world)) == (3, 5000)
    promote(world)
    assert serving(world).candidate is None
    assert replicas(world, serving(world).stable) == 4


def test_no_traffic_is_added_before_the_replicas_for_it_are_seen() -> None:
    world = rolling()
    world.ask(NAME, Verb.PROMOTE)
    seen = []
    for _ in range(20):
        round_of(world)
        seen.append((world.running(NAME, str(serving(world).candidate)), share(world)))
    assert all(running >= 3 for running, weight in seen if weight > 1000), seen


def test_all_traffic_goes_to_all_replicas_also_when_a_person_skips_the_steps() -> None:
    world = rolling()
    candidate = str(serving(world).candidate)
    world.ask(NAME, Verb.PROMOTE_FULL)
    until(world, lambda: RouteText(text=world.routes[NAME]).weights() == {candidate: 10_000})
    assert world.running(NAME, candidate) == 4


def test_one_that_is_aborted_leaves_with_what_it_had() -> None:
    world = rolling()
    candidate = serving(world).candidate
    world.ask(NAME, Verb.ABORT)
    for _ in range(10):
        round_of(world)
        name = names.serve_application(NAMESPACE, NAME, str(candidate))
        assert name not in world.applications or world.applications[name].target <= 1


def test_replicas_that_never_come_fail_the_candidate_after_the_deadline() -> None:
    world = rolling()
    world.applications[names.serve_application(NAMESPACE, NAME, str(serving(world).candidate))].is_stuck = True
    world.ask(NAME, Verb.PROMOTE)
    for _ in range(6):
        round_of(world)
    world.advance(31)
    world.settle()
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.PROGRESS_DEADLINE_EXCEEDED]
    assert serving(world).candidate is None


def test_more_than_are_wished_are_never_started() -> None:
    world = rolling([{"setReplicas": 9}, {"setWeight": 10}, {"pause": {}}])
    assert replicas(world, serving(world).candidate) == 4
    world.change(NAME, "scaling.replicas", 2)
    world.settle()
    assert replicas(world, serving(world).candidate) == 2
