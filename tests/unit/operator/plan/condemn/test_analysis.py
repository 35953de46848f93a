"""What an analysis does to a rollout, played up to the moment that matters."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.one_model import rollout, round_of, serving, share, until
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.analysis_status import COUNT_MAX, AnalysisPhase, Run
from fairlead_operator.api.counts import GATEWAYS_MAX
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason

NAME = "digits"
METRICS = [{"name": "errors", "errorRatio": {}}, {"name": "latency", "latency": {"quantile": 0.5, "ratio": 2}}]
STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}]
QUERY = {"query": "sum(errors{revision='{{candidate}}'})", "success": {"max": 1}}


def rolling(
    uri: str = "file:///m/2",
    *,
    steps: list[dict[str, Any]] = STEPS,
    step: int = 1,
    load: int = 0,
    gateways: int = 2,
    **analysis: Any,
) -> VirtualWorld:
    """A second revision, just come to this step."""
    world = VirtualWorld(gateways=gateways)
    desired = {"metrics": METRICS, "intervalSeconds": 5, "count": 4, **analysis}
    plan = {"progressDeadlineSeconds": 30, "strategy": "Canary", "steps": steps, "analysis": desired}
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=plan)
    world.settle()
    world.load = load
    world.change(NAME, "model.uri", uri)
    return until(world, lambda: serving(world).phase is Phase.SHIFTING and rollout(world).step == step)


def run_of(world: VirtualWorld) -> Run:
    run = rollout(world).analysis
    assert run is not None
    return run


def phase_of(world: VirtualWorld) -> AnalysisPhase | None:
    """None before the first measurement."""
    memory = serving(world).rollout
    return memory.analysis.phase if memory is not None and memory.analysis is not None else None


def rounds(world: VirtualWorld, count: int) -> None:
    for _ in range(count):
        round_of(world)


def is_withdrawn(world: VirtualWorld) -> bool:
    return serving(world).phase in (Phase.WITHDRAWING, Phase.DRAINING, Phase.REMOVING)


def test_gateways_beyond_those_that_an_analysis_counts_are_reported() -> None:
    world = rolling(gateways=GATEWAYS_MAX + 2, load=20)
    until(world, lambda: phase_of(world) is not None and bool(run_of(world).results))
    assert run_of(world).uncounted_gateways == 2
    assert "counted at 16 of 18 gateways" in world.models[NAME].status["rollout"]["message"]
    assert "counted at 16 of 18 gateways" in run_of(world).message


def test_all_gateways_are_counted_up_to_the_limit_and_nothing_is_reported() -> None:
    world = rolling(gateways=GATEWAYS_MAX, load=20)
    until(world, lambda: phase_of(world) is not None and bool(run_of(world).results))
    assert run_of(world).uncounted_gateways == 0
    assert "uncountedGateways" not in world.models[NAME].status["rollout"]["analysis"]
    assert "gateways" not in run_of(world).message


def test_an_uncounted_gateway_causes_no_writes_while_nobody_sends_requests() -> None:
    world = rolling(steps=[{"setWeight": 20}, {"pause": {}}], gateways=GATEWAYS_MAX + 1, load=20)
    until(world, lambda: phase_of(world) is not None and bool(run_of(world).results))
    world.load = 0
    rounds(world, 10)
    before = world.models[NAME].resource_version
    rounds(world, 20)
    assert world.models[NAME].resource_version == before


def test_requests_from_before_the_step_never_count() -> None:
    world = rolling("file:///m/failing", load=4000, step=1)
    for gateway in world.gateways:
        world.send(gateway, 100_000)
    world.load = 0
    rounds(world, 40)
    assert run_of(world).sums.candidate.requests == 0
    assert run_of(world).phase is AnalysisPhase.INCONCLUSIVE


def test_a_bad_candidate_loses_its_traffic_in_the_pass_after_the_verdict() -> None:
    world = rolling("file:///m/failing", load=400)
    until(world, lambda: serving(world).phase is Phase.WITHDRAWING)
    verdict = next(plan for plan in reversed(world.plans) if plan.reason is Reason.ANALYSIS_FAILED)
    assert verdict.requeue_after_s == 0
    world.pass_model(NAME)
    assert share(world) == 0
    (quarantined,) = serving(world).quarantine
    assert quarantined.reason == "AnalysisFailed"
    assert "20 % of" in quarantined.message


def test_a_pause_may_be_measured_for_longer_than_the_status_can_count() -> None:
    """At a measurement each second the millionth comes after twelve days; what comes then is still judged."""
    world = rolling(steps=[{"setWeight": 20}, {"pause": {}}], load=400, dryRun=True)
    until(world, lambda: phase_of(world) is not None and bool(run_of(world).results))
    analysis = world.models[NAME].status["rollout"]["analysis"]
    analysis["count"] = COUNT_MAX
    world.models[NAME].resource_version += 1
    for metric in analysis["metrics"]:
        metric["failed"] = metric["inconclusive"] = COUNT_MAX
    before = run_of(world)
    rounds(world, 20)
    assert run_of(world).measured_at > before.measured_at
    assert run_of(world).sums.candidate.requests > before.sums.candidate.requests
    assert run_of(world).count == COUNT_MAX


def test_the_numbers_stay_in_the_status_while_the_candidate_leaves() -> None:
    world = rolling("file:///m/late", load=400)
    until(world, lambda: is_withdrawn(world))
    run = run_of(world)
    assert run.phase is AnalysisPhase.FAILED
    assert [result.failed for result in run.results] == [0, 1]
    assert run.sums.candidate.requests > 0
    assert run.sums.marks == ()


def test_a_bad_candidate_is_taken_back_under_a_hold_and_in_an_endless_pause() -> None:
    world = rolling("file:///m/failing", steps=[{"setWeight": 20}, {"pause": {}}])
    world.change(NAME, "rollout.paused", True)
    world.load = 400
    until(world, lambda: is_withdrawn(world))


def test_a_candidate_that_clients_prove_worse_is_taken_back_though_ray_cannot_be_read() -> None:
    """What counts is what the gateways counted; the way back needs them alone."""
    world = rolling("file:///m/failing", load=400)
    while not is_withdrawn(world):
        world.pass_model(NAME, Fault.RAY_UNREAD)
        world.tick()
    world.pass_model(NAME, Fault.RAY_UNREAD)
    assert share(world) == 0


def test_twenty_bad_requests_decide_nothing() -> None:
    world = rolling("file:///m/failing", steps=[{"setWeight": 50}, {"analysis": {}}])
    rounds(world, 3)
    for gateway in world.gateways:
        world.send(gateway, 20)
    rounds(world, 30)
    assert run_of(world).sums.candidate.requests == 20
    assert run_of(world).phase is AnalysisPhase.INCONCLUSIVE


def test_a_failure_limit_lets_so_many_failed_measurements_pass() -> None:
    world = rolling("file:///m/failing", load=400, failureLimit=2, count=9)
    until(world, lambda: is_withdrawn(world))
    assert run_of(world).results[0].failed == 3


def test_an_initial_delay_is_not_measured() -> None:
    world = rolling("file:///m/failing", load=400, initialDelaySeconds=30)
    began = rollout(world).step_started_at
    until(world, lambda: is_withdrawn(world))
    assert (run_of(world).started_at - began).total_seconds() >= 30


def test_an_inconclusive_limit_ends_an_analysis_early() -> None:
    world = rolling(count=20, inconclusiveLimit=1)
    until(world, lambda: phase_of(world) is AnalysisPhase.INCONCLUSIVE)
    assert run_of(world).count == 2


def test_a_source_that_is_away_is_asked_again_and_then_a_person() -> None:
    world = rolling(load=400, errorLimit=2)
    world.measurements_are_away = True
    until(world, lambda: phase_of(world) is AnalysisPhase.INCONCLUSIVE)
    assert run_of(world).errors == 3
    assert serving(world).phase is Phase.SHIFTING
    writes = len(world.writes)
    rounds(world, 30)
    assert len(world.writes) == writes, "nothing more is written while it stays away"
    world.measurements_are_away = False
    rounds(world, 30)
    assert run_of(world).phase is AnalysisPhase.INCONCLUSIVE, "a person decides, not the source that came back"


def test_errors_in_between_are_forgiven_once_it_can_be_measured_again() -> None:
    world = rolling(errorLimit=2, count=1000)
    for _ in range(4):
        for _ in range(9):
            world.pass_model(NAME, Fault.MEASUREMENTS_UNREAD)
            world.tick()
        rounds(world, 7)
    assert run_of(world).phase is AnalysisPhase.RUNNING


@pytest.mark.parametrize("step", [{"setWeight": 100}, {"pause": {"durationSeconds": 5}}])
def test_no_step_ends_while_nothing_can_be_measured(step: dict[str, Any]) -> None:
    world = rolling(steps=[{"setWeight": 20}, step], load=400, errorLimit=1000)
    world.measurements_are_away = True
    rounds(world, 60)
    assert (serving(world).phase, rollout(world).step) == (Phase.SHIFTING, 1)


def test_resume_measures_again_and_promote_goes_on() -> None:
    for verb, expected in (("Resume", 1), ("Promote", 2)):
        world = rolling()
        until(world, lambda world=world: phase_of(world) is AnalysisPhase.INCONCLUSIVE)
        world.ask(NAME, verb)
        round_of(world)
        assert rollout(world).step == expected
        assert rollout(world).analysis is None or run_of(world).phase is AnalysisPhase.RUNNING


def test_an_abort_ends_what_could_not_be_told() -> None:
    world = rolling()
    until(world, lambda: phase_of(world) is AnalysisPhase.INCONCLUSIVE)
    world.ask(NAME, "Abort")
    until(world, lambda: serving(world).rollout is None)
    assert serving(world).candidate is None


def test_a_proved_candidate_that_a_person_holds_is_written_of_only_while_there_are_requests() -> None:
    world = rolling(steps=[{"setWeight": 20}, {"analysis": {}}], load=400)
    until(world, lambda: phase_of(world) is AnalysisPhase.RUNNING)
    world.ask(NAME, "Pause")
    until(world, lambda: phase_of(world) is AnalysisPhase.SUCCESSFUL)
    world.load = 0
    rounds(world, 10)
    writes = len(world.writes)
    rounds(world, 40)
    assert len(world.writes) == writes
    world.load = 400
    rounds(world, 10)
    assert len(world.writes) > writes


def test_agents_that_restart_together_are_marked_anew_and_go_on_being_counted() -> None:
    world = rolling(steps=[{"setWeight": 20}, {"pause": {}}], load=400)
    rounds(world, 10)
    for gateway in world.gateways:
        world.restart_agent(gateway)
    rounds(world, 10)
    before = run_of(world).sums.candidate.requests
    rounds(world, 20)
    assert run_of(world).sums.candidate.requests > before > 0


def test_a_killed_operator_counts_neither_less_nor_twice() -> None:
    sums = []
    for fault in (Fault.NONE, Fault.STATUS_CONFLICT):
        world = rolling(load=40, count=1000)
        for number in range(24):
            world.pass_model(NAME, fault if number % 5 else Fault.NONE)
            world.tick()
        rounds(world, 6)
        run = run_of(world)
        marked = sum(mark.candidate.requests for mark in run.sums.marks)
        counted = sum(g.counted[NAME, serving(world).candidate or ""].requests for g in world.gateways)
        assert counted - marked <= 8 * 6 * len(world.gateways)
        sums.append((run.sums.candidate.requests - marked, run.sums.stable.requests > 0))
    assert sums[0] == sums[1]


def test_during_an_analysis_a_measurement_is_one_write() -> None:
    world = rolling(count=1000)
    rounds(world, 10)
    writes, count = len(world.writes), run_of(world).count
    rounds(world, 60)
    assert len(world.writes) - writes <= run_of(world).count - count + 1


def test_a_quiet_pause_writes_nothing() -> None:
    world = rolling(steps=[{"setWeight": 20}, {"pause": {}}])
    rounds(world, 10)
    writes = len(world.writes)
    rounds(world, 60)
    assert len(world.writes) == writes


def test_a_dry_run_tells_and_decides_nothing() -> None:
    world = rolling("file:///m/failing", load=400, dryRun=True)
    until(world, lambda: serving(world).rollout is None)
    assert serving(world).quarantine == ()
    (event,) = [each for each in world.events if each.reason is Reason.ANALYSIS_IGNORED]
    assert "a dry run with the result Failed: errors: failed requests: candidate 20 % of" in event.message


def test_a_rollback_by_request_is_not_analysed() -> None:
    world = rolling(steps=[{"setWeight": 20}])
    until(world, lambda: serving(world).rollout is None)
    world.measurements_are_away = True
    world.ask(NAME, "Rollback")
    until(world, lambda: serving(world).rollback is not None and serving(world).rollout is None)


def test_a_step_min_samples_waits_for_the_candidates_requests_alone() -> None:
    world = rolling(steps=[{"setWeight": 20}, {"minSamples": 100}, {"pause": {}}])
    rounds(world, 10)
    for gateway in world.gateways:
        world.send(gateway, 240)
    rounds(world, 20)
    assert (rollout(world).step, run_of(world).sums.candidate.requests) == (1, 96)
    world.send(world.gateways[0], 20)
    until(world, lambda: rollout(world).step == 2)


def test_a_query_is_put_when_due_with_the_names_in_it() -> None:
    world = rolling(metrics=[{"name": "kernel", "prometheus": QUERY}], count=2)
    seen: set[str] = set()
    for _ in range(20):
        measured = world.observe(NAME).measured
        seen |= set(measured.answers) if measured is not None else set()
        world.answers["kernel"] = Known(0.5)
        round_of(world)
        if rollout(world).step != 1:
            break
    assert seen == {"kernel"}
    assert rollout(world).step == 2


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (Known(2.0), None),
        (Known(None), AnalysisPhase.INCONCLUSIVE),
        (Unknown("timed out"), AnalysisPhase.INCONCLUSIVE),
    ],
)
def test_an_answer_that_fails_takes_back_and_none_asks_a_person(
    answer: Known[float | None] | Unknown, phase: AnalysisPhase | None
) -> None:
    world = rolling(metrics=[{"name": "kernel", "prometheus": QUERY}], errorLimit=1)
    world.answers["kernel"] = answer
    rounds(world, 40)
    if phase is None:
        assert serving(world).quarantine[0].reason == "AnalysisFailed"
    else:
        assert run_of(world).phase is phase
