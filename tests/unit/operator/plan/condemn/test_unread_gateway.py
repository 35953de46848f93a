"""One Ready gateway can't be read: the counts of the others prove a revision worse, and nothing moves on by them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.one_model import NAME, rollout, serving, share, until
from tests.support.virtual_world import Fault, Gateway, VirtualWorld

from fairlead_operator.api.analysis_status import AnalysisPhase, Run
from fairlead_operator.api.counts import Counters
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.status import Verb
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

ERRORS: dict[str, Any] = {"name": "errors", "errorRatio": {}}
ACCURACY: dict[str, Any] = {"name": "accuracy", "accuracy": {"marginPercent": 2}}
STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {"durationSeconds": 30}}, {"setWeight": 50}]
FAILING, SOURING, GOOD = "file:///m/failing", "file:///m/souring", "file:///m/2"
LONG = 60


def rolling(
    uri: str,
    *metrics: dict[str, Any],
    steps: list[dict[str, Any]] = STEPS,
    step: int = 1,
    window_s: int = 0,
    **analysis: Any,
) -> VirtualWorld:
    """A second revision that has come to this step; nobody has sent a request yet."""
    world = VirtualWorld()
    desired = {"metrics": metrics or (ERRORS,), "intervalSeconds": 5, "count": 4, **analysis}
    plan: dict[str, Any] = {"progressDeadlineSeconds": 60, "strategy": "Canary", "steps": steps, "analysis": desired}
    plan |= {"rollbackWindow": {"seconds": window_s}} if window_s else {}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2}, rollout=plan)
    world.settle()
    world.change(NAME, "model.uri", uri)
    return until(world, lambda: serving(world).phase is Phase.SHIFTING and rollout(world).step == step)


def promoted(uri: str) -> VirtualWorld:
    """The second revision was promoted a moment ago, and clients send requests."""
    steps = [{"setWeight": 20}, {"pause": {"durationSeconds": 20}}, {"setWeight": 50}]
    world = rolling(uri, steps=steps, window_s=600)
    world.load = 400
    return until(world, lambda: serving(world).phase is Phase.WATCHING)


def rounds(world: VirtualWorld, count: int, fault: Fault = Fault.NONE) -> None:
    for _ in range(count):
        world.pass_model(NAME, fault)
        world.pass_every_ray()
        world.tick()


def lose(world: VirtualWorld, number: int) -> Gateway:
    """The operator can't read a gateway, and it takes no route; its clients go on."""
    gateway = world.gateways[number]
    gateway.is_away = True
    return gateway


def run_of(world: VirtualWorld) -> Run:
    run = rollout(world).analysis
    assert run is not None
    return run


def condemned(world: VirtualWorld) -> list[str]:
    return [entry.reason for entry in serving(world).quarantine]


def weights_at(world: VirtualWorld, gateway: Gateway) -> dict[int, int]:
    """The shares of the revisions, by their number."""
    kept = world.models[NAME].revisions
    return {kept[r].number: part for r, part in RouteText(text=gateway.routes[NAME]).weights().items()}


def condition(world: VirtualWorld, kind: str) -> str:
    return next(str(c["message"]) for c in world.models[NAME].status["conditions"] if c["type"] == kind)


@pytest.mark.parametrize("unread", [0, 1])
def test_a_failing_candidate_is_withdrawn_where_gateways_can_be_read(unread: int) -> None:
    world = rolling(FAILING)
    rounds(world, 2)
    gateway = lose(world, unread)
    world.load = 400
    rounds(world, 20)
    other = world.gateways[1 - unread]
    assert condemned(world) == ["AnalysisFailed"]
    assert (
        "counted at 1 of 2 gateways; errors: failed requests: candidate 20 % of" in serving(world).quarantine[0].message
    )
    assert (weights_at(world, other), weights_at(world, gateway)) == ({1: 10_000}, {1: 8_000, 2: 2_000})
    assert serving(world).phase is Phase.WITHDRAWING
    gone = str(serving(world).leaving)
    words = f"Revision 2 ({gone}) is withdrawn at gateway {other.id}; waiting for gateway {gateway.id}, which cannot"
    assert condition(world, "Progressing") == f"{words} be read: timed out."
    assert rollout(world).message == f"{words} be read: timed out."


def test_its_replicas_stop_once_the_gateway_that_was_not_read_has_confirmed() -> None:
    world = rolling(FAILING)
    gateway = lose(world, 1)
    world.load = 400
    rounds(world, LONG)
    assert len(world.applications) == 2
    assert all(application.running for application in world.applications.values())
    gateway.is_away = False
    rounds(world, 20)
    assert weights_at(world, gateway) == {1: 10_000}
    assert len(world.applications) == 1


def test_good_counts_of_the_gateway_that_comes_back_bring_no_candidate_back() -> None:
    world = rolling(FAILING)
    gateway = lose(world, 1)
    world.load = 400
    rounds(world, 20)
    candidate = str(serving(world).leaving)
    gateway.counted[NAME, candidate] = Counters(requests=1_000_000, durations=(1_000_000, 0, 0))
    gateway.is_away = False
    world.settle()
    assert condemned(world) == ["AnalysisFailed"]
    assert weights_at(world, gateway) == weights_at(world, world.gateways[0]) == {1: 10_000}


@pytest.mark.parametrize("steps", [STEPS, [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}]])
def test_a_good_candidate_goes_no_further_until_all_can_be_read(steps: list[dict[str, Any]]) -> None:
    world = rolling(GOOD, steps=steps)
    gateway = lose(world, 1)
    world.load = 4000
    rounds(world, LONG)
    assert (serving(world).phase, rollout(world).step, share(world)) == (Phase.SHIFTING, 1, 2000)
    assert run_of(world).phase is AnalysisPhase.RUNNING
    assert world.plans[-1].reason is Reason.GATEWAY_UNREACHABLE
    gateway.is_away = False
    until(world, lambda: serving(world).candidate is None)
    assert not condemned(world)


def test_counters_alone_that_cannot_be_read_ask_a_person_and_condemn_nobody_who_is_good() -> None:
    world = rolling(GOOD, errorLimit=2)
    world.load = 400
    rounds(world, LONG, Fault.MEASUREMENTS_UNREAD)
    assert (rollout(world).step, condemned(world)) == (1, [])
    assert run_of(world).phase is AnalysisPhase.INCONCLUSIVE


def test_of_several_gateways_that_cannot_be_read_the_first_by_name_is_given() -> None:
    """Another name at each reading would be a write of the status at each reading."""
    world = rolling(GOOD)
    world.load = 400
    world.gateways.reverse()
    rounds(world, 12, Fault.MEASUREMENTS_UNREAD)
    assert "unavailable: gateway gw-0: timed out" in run_of(world).message


def test_too_few_requests_at_the_gateways_that_can_be_read_decide_nothing() -> None:
    world = rolling(FAILING)
    rounds(world, 2)
    gateway = lose(world, 1)
    world.send(world.gateways[0], 400)
    world.send(gateway, 40_000)
    rounds(world, LONG)
    assert (condemned(world), share(world)) == ([], 2000)
    gateway.is_away = False
    rounds(world, 10)
    assert condemned(world) == ["AnalysisFailed"]


def test_the_candidate_stays_where_the_stable_revision_is_not_ready() -> None:
    world = rolling(FAILING)
    lose(world, 1)
    world.load = 400
    world.stop_replicas(NAME, 1)
    rounds(world, LONG)
    assert (condemned(world), share(world)) == ([], 2000)


def test_a_step_whose_route_one_gateway_never_confirmed_is_measured_at_the_others() -> None:
    world = rolling(FAILING, step=0)
    lose(world, 1)
    world.load = 400
    rounds(world, 30)
    assert condemned(world) == ["AnalysisFailed"]


def test_it_is_measured_while_more_replicas_are_waited_for() -> None:
    steps = [{"setReplicas": 1}, {"setWeight": 20}, {"pause": {}}, {"setReplicas": 2}, {"setWeight": 50}]
    world = rolling(FAILING, steps=steps, step=2)
    lose(world, 1)
    world.ask(NAME, Verb.PROMOTE)
    rounds(world, 3)
    world.load = 400
    rounds(world, 30)
    assert condemned(world) == ["AnalysisFailed"]


def test_what_was_counted_at_the_last_weight_is_no_part_of_the_next_one() -> None:
    steps = [
        {"setReplicas": 1},
        {"setWeight": 20},
        {"pause": {}},
        {"setReplicas": 2},
        {"setWeight": 100},
        {"pause": {}},
    ]
    world = rolling(GOOD, steps=steps, step=2)
    world.load = 400
    lost = lose(world, 1)
    world.ask(NAME, Verb.PROMOTE)
    until(world, lambda: rollout(world).step == 3 and rollout(world).analysis is not None)
    rounds(world, 20)
    assert run_of(world).sums.stable.requests > 0
    lost.is_away = False
    until(world, lambda: share(world) == 10_000)
    until(world, lambda: rollout(world).analysis is not None)
    rounds(world, 20)
    assert run_of(world).sums.stable.requests == 0


def test_an_agent_that_restarts_beside_it_is_marked_again() -> None:
    world = rolling(FAILING)
    lose(world, 1)
    rounds(world, 10)
    world.restart_agent(world.gateways[0])
    rounds(world, 10)
    world.load = 400
    rounds(world, 20)
    assert condemned(world) == ["AnalysisFailed"]


def test_what_each_gateway_counted_is_added_once_in_the_end() -> None:
    world = rolling(GOOD, steps=[{"setWeight": 20}, {"pause": {}}])
    rounds(world, 6)
    gateway = lose(world, 0)
    world.load = 50
    rounds(world, 33)
    candidate = str(serving(world).candidate)
    world.label(NAME, candidate, right=90, wrong=10)
    rounds(world, 33)
    gateway.is_away, world.load = False, 0
    rounds(world, 12)
    run = run_of(world)
    assert run.candidate.requests == sum(each.counted[NAME, candidate].requests for each in world.gateways)
    assert (run.candidate.labelled, run.candidate.correct) == (100, 90)
    assert run.uncounted_gateways == 0


def test_labels_are_judged_as_a_gateway_read_them_that_can_be_read() -> None:
    world = rolling(GOOD, ACCURACY)
    rounds(world, 2)
    lose(world, 0)
    places = serving(world)
    world.label(NAME, str(places.stable), right=950, wrong=50)
    world.label(NAME, str(places.candidate), right=500, wrong=500)
    rounds(world, 12)
    assert condemned(world) == ["AnalysisFailed"]


def test_nothing_is_written_while_nothing_new_is_counted() -> None:
    world = rolling(GOOD, ACCURACY, steps=[{"setWeight": 20}, {"pause": {}}])
    rounds(world, 2)
    lose(world, 0)
    world.label(NAME, str(serving(world).candidate), right=90, wrong=10)
    rounds(world, 12)
    before = world.models[NAME].resource_version
    rounds(world, LONG)
    assert world.models[NAME].resource_version == before


def test_tolerated_failures_are_counted() -> None:
    world = rolling(FAILING, failureLimit=2)
    lose(world, 1)
    world.load = 400
    until(world, lambda: rollout(world).analysis is not None and bool(run_of(world).results))
    assert [result.failed for result in run_of(world).results] == [1]
    rounds(world, 20)
    assert condemned(world) == ["AnalysisFailed"]


def test_a_dry_run_takes_nothing_back() -> None:
    world = rolling(FAILING, dryRun=True)
    lose(world, 1)
    world.load = 400
    rounds(world, LONG)
    assert (condemned(world), share(world)) == ([], 2000)


@pytest.mark.parametrize("fault", [Fault.RAY_UNREAD, Fault.CRASH_AFTER_WRITE])
def test_neither_ray_nor_a_restart_of_the_operator_is_waited_for(fault: Fault) -> None:
    world = rolling(FAILING)
    lose(world, 1)
    world.load = 400
    for _ in range(20):
        rounds(world, 1, fault)
        rounds(world, 1, Fault.RAY_UNREAD if fault is Fault.RAY_UNREAD else Fault.NONE)
    assert condemned(world) == ["AnalysisFailed"]
    assert weights_at(world, world.gateways[0]) == {1: 10_000}


def test_a_gateway_that_does_not_take_the_route_is_left_out_after_a_while() -> None:
    world = rolling(FAILING, step=0)
    world.gateways[1].is_stuck = True
    world.load = 400
    rounds(world, 15)
    assert condemned(world) == [], "a moment is waited for it"
    rounds(world, 30)
    assert condemned(world) == ["AnalysisFailed"]


def test_a_gateway_that_refuses_the_route_is_left_out_at_once() -> None:
    world = rolling(FAILING, step=0)
    world.gateways[1].is_stuck, world.gateways[1].errors = True, {NAME: "match: too many"}
    world.load = 400
    rounds(world, 15)
    assert condemned(world) == ["AnalysisFailed"]


@pytest.mark.parametrize("unread", [0, 1])
def test_a_promotion_is_undone_where_gateways_can_be_read(unread: int) -> None:
    world = promoted(SOURING)
    gateway = lose(world, unread)
    rounds(world, 30)
    other = world.gateways[1 - unread]
    assert condemned(world) == ["AnalysisFailed"]
    assert (
        "counted at 1 of 2 gateways; errors: failed requests: promoted 20 % of" in serving(world).quarantine[0].message
    )
    assert (weights_at(world, other), weights_at(world, gateway)) == ({1: 10_000}, {2: 10_000})
    assert f"is withdrawn at gateway {other.id}; waiting for gateway {gateway.id}" in condition(world, "Progressing")
    assert len(world.applications) == 2
    gateway.is_away = False
    rounds(world, 20)
    assert weights_at(world, gateway) == {1: 10_000}
    assert len(world.applications) == 1


def test_a_promoted_revision_that_answers_well_stays() -> None:
    world = promoted(GOOD)
    lose(world, 1)
    rounds(world, LONG)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_a_promotion_stays_where_the_previous_revision_is_not_ready() -> None:
    world = promoted(SOURING)
    lose(world, 1)
    world.stop_replicas(NAME, 1)
    rounds(world, LONG)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_a_rollback_to_the_warm_revision_waits_for_no_gateway_that_cannot_be_read() -> None:
    world = promoted(GOOD)
    lose(world, 1)
    world.ask(NAME, Verb.ROLLBACK)
    rounds(world, 6)
    assert weights_at(world, world.gateways[0]) == {1: 10_000}
