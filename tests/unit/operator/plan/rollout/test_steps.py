"""The steps of a Canary and what holds them, each rule played up to the moment that matters."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.one_model import NAME, rollout, round_of, serving, share, until
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.spec import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.desired import strategy
from fairlead_operator.state.desired import Analyse, Pause, SetWeight
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

DISAGREES: dict[str, Any] = {"metrics": [{"name": "same", "disagreement": {}}]}
DRY: dict[str, Any] = {**DISAGREES, "dryRun": True}
STEPS: list[dict[str, Any]] = [{"setWeight": 25}, {"pause": {"durationSeconds": 60}}, {"setWeight": 50}, {"pause": {}}]


def rolling(steps: list[dict[str, Any]], *, step: int = 0, **spec: Any) -> VirtualWorld:
    """A second revision, just come to this step."""
    world = VirtualWorld()
    desired = {"progressDeadlineSeconds": 30, "strategy": "Canary", "steps": steps}
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=desired, **spec)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    return until(world, lambda: serving(world).phase is Phase.SHIFTING and rollout(world).step == step)


@pytest.mark.parametrize(
    ("desired", "steps"),
    [
        ({}, (SetWeight(weight=10_000),)),
        ({"strategy": "Recreate"}, (SetWeight(weight=10_000),)),
        ({"strategy": "BlueGreen"}, (Pause(duration_s=None),)),
        ({"strategy": "Shadow", "shadow": {"percent": 5}}, (Pause(duration_s=None),)),
        ({"strategy": "Shadow", "shadow": {"percent": 5}, "analysis": DISAGREES}, (Analyse(),)),
        (
            {"strategy": "Shadow", "shadow": {"percent": 5}, "analysis": {**DISAGREES, "dryRun": True}},
            (Pause(duration_s=None),),
        ),
        (
            {"strategy": "Canary", "steps": STEPS},
            (SetWeight(weight=2500), Pause(duration_s=60), SetWeight(weight=5000), Pause(duration_s=None)),
        ),
    ],
)
def test_a_strategy_is_a_list_of_steps(desired: dict[str, Any], steps: tuple[object, ...]) -> None:
    assert strategy.steps_of(Rollout.model_validate(desired), 4) == steps


def test_a_step_is_done_only_once_every_gateway_has_its_weight() -> None:
    world = rolling(STEPS)
    world.gateways[1].is_stuck = True
    for _ in range(10):
        round_of(world)
    assert (rollout(world).step, share(world)) == (0, 2500)
    world.gateways[1].is_stuck = False
    until(world, lambda: rollout(world).step == 1)


def test_a_pause_counts_from_when_the_step_before_was_confirmed() -> None:
    world = rolling(STEPS, step=1)
    began = rollout(world).step_started_at
    world.advance(40)
    assert world.pass_model(NAME, Fault.CRASH_AFTER_WRITE).reason is Reason.STEP_PAUSED
    until(world, lambda: rollout(world).step == 2)
    assert 60 <= (rollout(world).step_started_at - began).total_seconds() <= 62


def test_a_pause_is_looked_at_in_between_and_at_its_end() -> None:
    world = rolling(STEPS, step=1)
    assert world.pass_model(NAME).requeue_after_s <= 5
    world.pass_model(NAME)
    world.advance(57.5)
    assert 0 < world.pass_model(NAME).requeue_after_s <= 2.5


def test_a_candidate_that_dies_in_a_pause_is_withdrawn() -> None:
    world = rolling(STEPS, step=1)
    candidate = serving(world).candidate
    application = world.applications[f"default--{NAME}--{candidate}"]
    application.running, application.failed = 0, "fairlead: ModelCorrupt: gone"
    world.pass_model(NAME)
    assert serving(world).phase is Phase.WITHDRAWING
    assert [entry.revision for entry in serving(world).quarantine] == [candidate]


def test_weights_may_go_down_again() -> None:
    world = rolling([{"setWeight": 50}, {"setWeight": 10}, {"pause": {}}], step=2)
    assert share(world) == 1000


def test_after_the_last_step_the_candidate_gets_everything_before_it_is_stable() -> None:
    world = rolling([{"setWeight": 25}])
    candidate = serving(world).candidate
    until(world, lambda: share(world) == 10_000)
    assert (serving(world).candidate, rollout(world).step) == (candidate, 1)
    until(world, lambda: serving(world).stable == candidate)


def test_the_first_revision_has_nothing_to_share_with_and_takes_no_steps() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"strategy": "Canary", "steps": [{"pause": {}}]})
    world.settle()
    assert world.models[NAME].status["phase"] == "Ready"


def test_changed_steps_hold_from_the_next_step_on() -> None:
    world = rolling(STEPS, step=1)
    world.change(NAME, "rollout.steps", [{"setWeight": 1}, {"pause": {"durationSeconds": 60}}, {"setWeight": 70}])
    round_of(world)
    assert share(world) == 2500
    until(world, lambda: share(world) == 7000)


def test_steps_that_are_taken_away_are_done() -> None:
    world = rolling(STEPS, step=3)
    world.change(NAME, "rollout.steps", [{"setWeight": 25}])
    until(world, lambda: serving(world).candidate is None)
    assert world.models[NAME].status["stableRevision"] in world.routes[NAME]


def test_a_hold_by_the_spec_keeps_the_weight_and_the_last_step() -> None:
    world = rolling([{"setWeight": 100}])
    world.change(NAME, "rollout.paused", True)
    world.settle()
    assert share(world) == 10_000, "not promoted: it is held where it is"
    world.change(NAME, "rollout.paused", False)
    world.settle()
    assert world.models[NAME].status["phase"] == "Ready"


def test_time_spent_held_counts_towards_no_deadline() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 30, "paused": True})
    until(world, lambda: world.plans != [] and world.plans[-1].reason is Reason.PAUSED)
    world.advance(3600)
    (application,) = world.applications.values()
    application.running, application.is_stuck = 0, True
    assert round_of(world).reason is Reason.SCALING_UP_CANDIDATE, (
        "a lost replica is waited for, however long it was held"
    )
    world.change(NAME, "rollout.paused", False)
    for _ in range(20):
        assert round_of(world).reason is Reason.SCALING_UP_CANDIDATE
    until(world, lambda: world.plans[-1].reason is Reason.PROGRESS_DEADLINE_EXCEEDED)


def test_a_ray_restart_keeps_the_step_and_begins_its_pause_again() -> None:
    world = rolling(STEPS, step=1)
    world.ask(NAME, "Pause")
    round_of(world)
    world.advance(50)
    world.lose_ray()
    until(world, lambda: world.plans[-1].reason is Reason.RAY_RESTARTED)
    memory = rollout(world)
    assert (memory.step, memory.weight, memory.paused_by_request) == (1, 2500, True)
    assert (world.now - memory.step_started_at).total_seconds() <= 2


def test_scaling_to_zero_while_ray_is_lost_gives_no_traffic_back_to_what_can_not_run() -> None:
    """Found by the model: the withdrawal waited for a ready replica that nobody desired any more."""
    world = rolling(STEPS, step=3)
    world.lose_ray()
    world.change(NAME, "scaling.replicas", 0)
    world.settle()
    assert RouteText(text=world.routes[NAME]).weights() == {}
    assert serving(world).rollout is None
    world.change(NAME, "scaling.replicas", 1)
    world.settle()
    assert world.models[NAME].status["phase"] == "Paused"
