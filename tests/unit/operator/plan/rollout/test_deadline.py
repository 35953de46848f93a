"""The progress deadline counts only time in which the candidate could have got on."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.support.one_model import NAME, rollout, round_of, serving, until
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.reasons import Reason

DEADLINE_S = 60


def rolling(phase: Phase, uri: str = "file:///m/2", **spec: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": DEADLINE_S}, **spec)
    world.settle()
    world.change(NAME, "model.uri", uri)
    return until(world, lambda: serving(world).phase is phase)


def is_stable(world: VirtualWorld, number: int) -> bool:
    return world.models[NAME].revisions[serving(world).stable or ""].number == number


def test_an_operator_that_was_away_condemns_nothing_that_it_never_started() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": DEADLINE_S})
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    while serving(world).phase is not Phase.STARTING:
        world.pass_model(NAME)
    world.advance(11 * DEADLINE_S)
    world.settle()
    assert is_stable(world, 2)
    assert serving(world).quarantine == ()


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.CONNECTING, Phase.PROVING, Phase.WIDENING])
@pytest.mark.parametrize("fault", [Fault.RAY_UNREAD, Fault.GATEWAY_UNREAD, Fault.ROUTE_UNREAD])
def test_what_can_not_be_read_uses_up_no_deadline(phase: Phase, fault: Fault) -> None:
    world = rolling(phase, scaling={"replicas": 2})
    for application in world.applications.values():
        application.is_stuck = True
    for _ in range(60):
        world.pass_model(NAME, fault)
        world.tick(5)
    for application in world.applications.values():
        application.is_stuck = False
    world.settle()
    assert is_stable(world, 2)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps_uses_up_no_deadline_and_stops_none(seconds: int) -> None:
    world = rolling(Phase.STARTING)
    world.now += datetime.timedelta(seconds=seconds)
    world.settle()
    assert is_stable(world, 2)
    world.change(NAME, "model.uri", "file:///m/slow")
    until(world, lambda: serving(world).phase is Phase.STARTING)
    world.now += datetime.timedelta(seconds=seconds)
    world.be_patient()
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.PROGRESS_DEADLINE_EXCEEDED]


def test_a_configuration_that_ray_never_took_condemns_nothing() -> None:
    world = rolling(Phase.STARTING)
    for _ in range(10 * DEADLINE_S):
        world.pass_model(NAME)
        world.pass_ray(Fault.REFUSED)
        world.tick()
    assert serving(world).quarantine == ()
    assert world.plans[-1].reason is Reason.RAY_REFUSED
    ready = next(c for c in world.models[NAME].status["conditions"] if c["type"] == "Progressing")
    assert " has not accepted the configuration of revision 2" in ready["message"]
    world.settle()
    assert is_stable(world, 2)


def test_a_candidate_that_never_gets_ready_is_condemned_after_its_time() -> None:
    world = rolling(Phase.STARTING, uri="file:///m/slow")
    began = world.now
    for _ in range(2 * DEADLINE_S):
        round_of(world)
        if serving(world).quarantine:
            break
    assert DEADLINE_S <= (world.now - began).total_seconds() <= DEADLINE_S + 15
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.PROGRESS_DEADLINE_EXCEEDED]


def test_waiting_writes_the_status_only_now_and_then() -> None:
    world = rolling(Phase.STARTING, uri="file:///m/slow")
    for _ in range(3):
        round_of(world)
    writes = len(world.writes)
    for _ in range(DEADLINE_S // 2):
        round_of(world)
    assert rollout(world).progress_s >= DEADLINE_S // 3
    assert len(world.writes) - writes <= 15


@pytest.mark.parametrize("steps", [[{"setWeight": 25}, {"pause": {"durationSeconds": 20}}], [{"setWeight": 50}]])
def test_a_clock_that_is_set_back_holds_up_neither_a_pause_nor_an_analysis(steps: list[dict[str, Any]]) -> None:
    analysis = {"metrics": [{"name": "errors", "errorRatio": {}}], "intervalSeconds": 2, "count": 5}
    world = VirtualWorld()
    world.load = 400
    spec = {"strategy": "Canary", "steps": [*steps, {"analysis": {}}], "analysis": analysis}
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=spec)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).rollout is not None and rollout(world).analysis is not None)
    world.now -= datetime.timedelta(hours=2)
    for _ in range(120):
        round_of(world)
    assert serving(world).rollout is None
    assert is_stable(world, 2)
