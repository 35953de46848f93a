"""Single rules of the rollout, each played in the virtual world up to the moment that matters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state import actions
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText


def served(uri: str = "file:///m/1", **spec: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": uri}, rollout={"progressDeadlineSeconds": 30}, **spec)
    world.settle()
    return world


def rolling(phase: Phase, uri: str = "file:///m/2", **spec: Any) -> VirtualWorld:
    world = served(**spec)
    world.change(NAME, "model.uri", uri)
    return until(world, lambda: serving(world).phase is phase)


def test_a_failed_revision_is_not_tried_again_by_looking_again() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/bad")
    world.settle()
    puts = [w for w in world.writes if w.kind == "Put"]
    world.advance(86400)
    world.settle()
    assert [w for w in world.writes if w.kind == "Put"] == puts
    assert len(serving(world).quarantine) == 1


def test_while_nothing_serves_a_request_is_as_large_and_as_long_as_the_spec_says() -> None:
    limits = {"maxRequestBytes": 300_000, "requestTimeoutSeconds": 7}
    world = served(serving=limits, replicas=1)
    world.change(NAME, "rollout.strategy", "Recreate")
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: "revisions" not in json.loads(world.routes[NAME]))
    entry = json.loads(world.routes[NAME])
    assert (entry["maxRequestBytes"], entry["requestTimeoutSeconds"]) == (300_000, 7)


def test_partial_readiness_does_not_reset_the_deadline() -> None:
    world = rolling(Phase.WIDENING, scaling={"replicas": 8})
    candidate = serving(world).candidate
    for application in world.applications.values():
        application.is_stuck = True  # Ray has no place for all of them
    for _ in range(20):
        assert round_of(world).reason is Reason.SCALING_UP_CANDIDATE
    until(world, lambda: world.plans[-1].reason is Reason.PROGRESS_DEADLINE_EXCEEDED)
    assert [entry.revision for entry in serving(world).quarantine] == [candidate]


def test_a_long_request_is_waited_for_and_then_no_longer() -> None:
    world = rolling(Phase.DRAINING)
    leaving = serving(world).leaving
    assert leaving is not None
    gateway = world.gateways[0]
    gateway.sessions[NAME, leaving] = 10**6
    for _ in range(5):
        assert round_of(world).reason is Reason.DRAINING
    world.advance(world.bounds.drain_s)
    assert round_of(world).reason is Reason.REMOVING


def test_an_unread_gateway_ends_no_drain_however_long_it_takes() -> None:
    world = rolling(Phase.DRAINING)
    world.advance(10 * world.bounds.drain_s)
    world.pass_model(NAME, Fault.GATEWAY_UNREAD)
    assert serving(world).phase is Phase.DRAINING


@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING])
def test_going_back_to_the_stable_revision_takes_the_candidates_traffic_before_its_backend(phase: Phase) -> None:
    world = rolling(phase)
    candidate = serving(world).candidate
    until(world, lambda: isinstance(world.plans[-1].action, actions.WriteRoute) or phase is not Phase.SHIFTING)
    world.change(NAME, "model.uri", "file:///m/1")
    round_of(world)
    assert serving(world).phase is Phase.WITHDRAWING
    written = until(world, lambda: isinstance(world.plans[-1].action, actions.WriteRoute)).routes[NAME]
    assert candidate is not None
    assert candidate in written
    assert candidate not in RouteText(text=written).weights()
    world.settle()
    assert candidate not in world.routes[NAME]


def test_the_revision_that_leaves_is_taken_back_while_it_is_still_warm() -> None:
    world = rolling(Phase.DRAINING)
    first = serving(world).leaving
    world.change(NAME, "model.uri", "file:///m/1")
    round_of(world)
    assert (serving(world).phase, serving(world).candidate) == (Phase.CONNECTING, first)
    started = len([w for w in world.writes if w.kind == "Put"])
    until(world, lambda: serving(world).stable == first)
    assert len([w for w in world.writes if w.kind == "Put"]) == started, "nothing had to be started"


def test_the_history_is_trimmed_to_its_limit_oldest_first() -> None:
    world = served(revisionHistoryLimit=2)
    for number in range(2, 7):
        world.change(NAME, "model.uri", f"file:///m/{number}")
        world.settle()
    assert sorted(r.number for r in world.models[NAME].revisions.values()) == [4, 5, 6]


def test_a_lost_stable_revision_whose_source_was_away_comes_back_by_itself_without_a_storm() -> None:
    world = served()
    world.lose_ray()
    world.sources_are_away = True
    for _ in range(600):
        round_of(world)
    puts = [w for w in world.writes if w.kind == "Put"]
    assert len(puts) < 12
    assert serving(world).stable is not None
    world.sources_are_away = False
    world.settle()
    assert world.models[NAME].status["phase"] == "Ready"
    repeated = len([w for w in world.writes if w.kind == "Put"])
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    assert serving(world).attempts == ()
    assert len([w for w in world.writes if w.kind == "Put"]) == repeated + 3, "start, pin, stop: no restart in between"


def test_a_revision_that_lost_its_controller_revision_gets_its_number_back() -> None:
    world = served()
    revision, kept = next(iter(world.models[NAME].revisions.items()))
    del world.models[NAME].revisions[revision]
    world.pass_ray()
    assert world.running(NAME, revision) == 1, "what runs is left as it is"
    world.pass_model(NAME)
    repeated = world.models[NAME].revisions[revision]
    assert (repeated.number, repeated.application) == (kept.number, kept.application)
