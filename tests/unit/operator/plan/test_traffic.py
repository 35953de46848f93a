"""What decides besides the weight: when matches, a sticky header and a shadow hold, and when they don't."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.api.spec import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.desired import strategy
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import BY_WEIGHT, Match, MatchKind, RouteText, Routing

MATCH = [{"header": "X-Group", "value": "beta"}, {"cookie": "Canary", "value": "on"}]
STEPS: list[dict[str, Any]] = [{"setWeight": 10}, {"pause": {}}]
CANARY = {"strategy": "Canary", "steps": STEPS, "match": MATCH, "sticky": {"header": "X-User"}}
SHADOW = {"strategy": "Shadow", "shadow": {"percent": 10}}


def routed(world: VirtualWorld) -> dict[str, Any]:
    """What the written table holds besides weights."""
    entry = json.loads(world.routes[NAME])
    return {key: entry[key] for key in ("match", "sticky", "shadow") if key in entry}


def rolling(rollout: dict[str, Any], phase: Phase) -> VirtualWorld:
    """A second revision that has just come to this phase."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 60, **rollout})
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    return until(world, lambda: serving(world).phase is phase)


@pytest.mark.parametrize(
    ("rollout", "routing"),
    [
        ({}, BY_WEIGHT),
        ({"strategy": "BlueGreen"}, BY_WEIGHT),
        (SHADOW, Routing(shadow=1000)),
        (
            CANARY,
            Routing(
                matches=(
                    Match(kind=MatchKind.HEADER, name="x-group", value="beta"),
                    Match(kind=MatchKind.COOKIE, name="Canary", value="on"),
                ),
                sticky_header="x-user",
            ),
        ),
        # The API server refuses these; an operator that meets them all the same leads nobody to a candidate.
        ({"strategy": "RollingUpdate", "match": MATCH, "sticky": {"header": "x"}, "shadow": {"percent": 1}}, BY_WEIGHT),
    ],
)
def test_a_strategy_has_what_it_can_use(rollout: dict[str, Any], routing: Routing) -> None:
    assert strategy.routing_of(Rollout.model_validate(rollout)) == routing


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.CONNECTING, Phase.PROVING, Phase.WIDENING])
@pytest.mark.parametrize("rollout", [CANARY, SHADOW])
def test_nobody_meets_a_candidate_that_is_not_proved(rollout: dict[str, Any], phase: Phase) -> None:
    assert routed(rolling(rollout, phase)) == {}


def test_from_the_first_step_on_they_hold_until_the_candidate_is_stable() -> None:
    world = rolling(CANARY, Phase.SHIFTING)
    world.settle()
    assert set(routed(world)) == {"match", "sticky"}

    world.ask(NAME, "PromoteFull")
    until(world, lambda: serving(world).phase is Phase.DRAINING)
    assert routed(world) == {}


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda world: world.ask(NAME, "Abort"), id="aborted"),
        pytest.param(lambda world: world.change(NAME, "model.uri", "file:///m/1"), id="reverted"),
        pytest.param(lambda world: world.change(NAME, "model.uri", "file:///m/3"), id="superseded"),
        pytest.param(lambda world: world.change(NAME, "suspend", True), id="suspended"),
    ],
)
@pytest.mark.parametrize("rollout", [CANARY, SHADOW])
def test_with_the_candidate_they_go_in_one_write(
    rollout: dict[str, Any], leave: Callable[[VirtualWorld], None]
) -> None:
    world = rolling(rollout, Phase.SHIFTING)
    world.settle()
    candidate = serving(world).candidate
    leave(world)
    until(world, lambda: json.loads(world.routes[NAME]).get("candidate") != candidate)

    assert routed(world) == {}


def test_a_match_waits_for_a_ready_replica_to_lead_to() -> None:
    world = rolling({"strategy": "BlueGreen", "match": MATCH}, Phase.SHIFTING)
    application = world.applications[f"default--{NAME}--{serving(world).candidate}"]
    application.running, application.is_stuck = 0, True
    for _ in range(5):
        round_of(world)
    assert routed(world) == {}

    application.is_stuck = False
    until(world, lambda: set(routed(world)) == {"match"})


def test_matches_that_change_hold_at_once_and_the_step_stays() -> None:
    world = rolling(CANARY, Phase.SHIFTING)
    world.settle()
    memory = serving(world).rollout
    world.change(NAME, "rollout.match", [{"cookie": "a", "value": "b"}])
    world.settle()

    assert routed(world)["match"] == [{"cookie": "a", "value": "b"}]
    assert serving(world).rollout == memory


def test_a_way_back_is_for_everybody_at_once() -> None:
    world = rolling(SHADOW, Phase.SHIFTING)
    world.settle()
    world.ask(NAME, "Promote", step=0)
    world.settle()
    world.ask(NAME, "Rollback")
    seen = len(world.writes)
    world.settle()

    written = [each.what for each in world.writes[seen:] if each.kind == "WriteRoute"]
    assert len(written) >= 3
    assert routed(world) == {}
    assert not any("copied" in plan.message for plan in world.plans if plan.serving.rollback is not None)


def test_a_shadow_ends_by_a_promote_alone_and_takes_no_traffic_before() -> None:
    world = rolling(SHADOW, Phase.SHIFTING)
    world.settle()
    assert routed(world) == {"shadow": 1000}
    assert json.loads(world.routes[NAME])["candidateWeight"] == 0
    assert world.models[NAME].status["phase"] == "Paused"
    candidate = serving(world).candidate

    world.ask(NAME, "Promote", step=0)
    world.settle()

    assert (serving(world).stable, serving(world).rollout, routed(world)) == (candidate, None, {})


def test_no_route_is_written_without_the_stable_revision() -> None:
    """Its ControllerRevision was deleted by hand amid a canary; all replicas still run."""
    world = rolling({"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]}, Phase.SHIFTING)
    until(world, lambda: len(RouteText(text=world.routes[NAME]).weights()) == 2)
    before = world.routes[NAME]
    del world.models[NAME].revisions[serving(world).stable or ""]
    for _ in range(20):
        round_of(world)
    assert world.routes[NAME] == before
    assert world.plans[-1].reason is Reason.REVISION_LOST
    assert "set spec.model and spec.serving back to that revision" in world.plans[-1].message
    assert {c["reason"] for c in world.models[NAME].status["conditions"] if c["type"] == "Stalled"} == {"RevisionLost"}
    world.change(NAME, "model.uri", "file:///m/1")
    world.settle()
    assert RouteText(text=world.routes[NAME]).weights() == {serving(world).stable: 10_000}


def test_a_candidate_without_its_controller_revision_keeps_the_route_as_it_is() -> None:
    world = rolling({"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]}, Phase.SHIFTING)
    until(world, lambda: len(RouteText(text=world.routes[NAME]).weights()) == 2)
    before = world.routes[NAME]
    candidate = serving(world).candidate or ""
    for _ in range(3):
        world.models[NAME].revisions.pop(candidate, None)
        world.pass_model(NAME)
    assert world.routes[NAME] == before
