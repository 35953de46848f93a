"""The analysis goes on after a promotion while the revision before is warm: what takes it back, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.one_model import rollout, round_of, serving, until
from tests.support.virtual_world import NAMESPACE, Fault, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.analysis_status import AnalysisPhase, MetricPhase, Run
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.condemn import after_promotion
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

NAME = "digits"
ERRORS: dict[str, Any] = {"name": "errors", "errorRatio": {}}
ACCURACY: dict[str, Any] = {"name": "accuracy", "accuracy": {"marginPercent": 2}}
KERNEL: dict[str, Any] = {"name": "kernel", "prometheus": {"query": "up{r='{{candidate}}'}", "success": {"max": 1}}}
BESIDE: dict[str, Any] = {
    "name": "beside",
    "prometheus": {"query": "a{r='{{candidate}}'} / a{r='{{stable}}'}", "success": {"max": 1}},
}
GOOD, SOURING = "file:///m/2", "file:///m/souring"
WINDOW_S = 600


def promoted(
    uri: str = GOOD, *metrics: dict[str, Any], window_s: int = WINDOW_S, load: int = 400, **analysis: Any
) -> VirtualWorld:
    """Revision 2 was promoted a moment ago, revision 1 stays warm."""
    world = VirtualWorld()
    desired = {"metrics": metrics or (ERRORS,), "intervalSeconds": 5, **analysis}
    plan = {
        "progressDeadlineSeconds": 60,
        "strategy": "Canary",
        "steps": [{"setWeight": 20}, {"pause": {"durationSeconds": 20}}, {"setWeight": 50}],
        "rollbackWindow": {"seconds": window_s},
        "analysis": desired,
    }
    world.answers = {"kernel": Known(0.5), "beside": Known(0.5)}
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=plan, scaling={"replicas": 2})
    world.settle()
    world.load = load
    world.change(NAME, "model.uri", uri)
    return until(world, lambda: serving(world).phase is Phase.WATCHING)


def rounds(world: VirtualWorld, count: int, fault: Fault = Fault.NONE) -> None:
    for _ in range(count):
        world.pass_model(NAME, fault)
        world.pass_ray()
        world.tick()


def run_of(world: VirtualWorld) -> Run:
    run = rollout(world).analysis
    assert run is not None
    return run


def numbers(world: VirtualWorld) -> dict[int, int]:
    kept = world.models[NAME].revisions
    return {kept[r].number: share for r, share in RouteText(text=world.routes[NAME]).weights().items()}


def condemned(world: VirtualWorld) -> list[str]:
    return [entry.reason for entry in serving(world).quarantine]


def is_watched_and_free(world: VirtualWorld) -> bool:
    return serving(world).phase is Phase.WATCHING and not serving(world).quarantine


def replicas_of(world: VirtualWorld, revision: str | None) -> str:
    return names.serve_application(NAMESPACE, NAME, str(revision))


def test_a_revision_that_sours_once_it_has_all_requests_is_taken_back_with_its_numbers() -> None:
    world = promoted(SOURING)
    until(world, lambda: serving(world).phase is Phase.WITHDRAWING)
    world.pass_model(NAME)
    assert numbers(world) == {1: 10_000}
    (entry,) = serving(world).quarantine
    assert entry.reason == "AnalysisFailed"
    assert "errors: failed requests: promoted 20 % of" in entry.message
    assert ", previous 0 % of " in entry.message
    assert run_of(world).phase is AnalysisPhase.FAILED
    assert run_of(world).sums.marks == ()
    events = [event for event in world.events if event.reason is Reason.ROLLOUT_FAILED]
    assert ["errors: failed requests: promoted 20 % of" in event.message for event in events] == [True]
    world.advance(86400)
    world.settle()
    assert numbers(world) == {1: 10_000}


def test_a_good_one_stays_and_nothing_is_measured_once_the_window_is_over() -> None:
    world = promoted()
    rounds(world, 40)
    assert run_of(world).phase is AnalysisPhase.RUNNING
    assert run_of(world).results[0].phase is MetricPhase.SUCCESSFUL
    world.change(NAME, "rollout.rollbackWindow", {"seconds": 10})
    rounds(world, 8)
    assert serving(world).rollout is None
    assert world.observe(NAME).measured is None
    writes = len(world.writes)
    rounds(world, 60)
    assert len(world.writes) == writes


def test_a_warm_time_beyond_the_window_is_not_measured() -> None:
    world = promoted(window_s=20)
    world.change(NAME, "rollout.rollbackWindow", {"seconds": 1})
    world.models[NAME].spec["rollout"]["rollbackWindow"] = {"seconds": 20}
    world.models[NAME].resource_version += 1
    world.advance(20)
    assert world.observe(NAME).measured is None
    world = promoted(SOURING, dryRun=True)
    assert world.observe(NAME).measured is not None


def test_within_the_window_a_measurement_is_one_write_and_silence_is_none() -> None:
    world = promoted()
    rounds(world, 10)
    writes, count = len(world.writes), run_of(world).count
    rounds(world, 60)
    assert len(world.writes) - writes == run_of(world).count - count <= 12
    assert len([event for event in world.events if event.reason is Reason.ROLLBACK_WINDOW_OPEN]) == 1
    world.load = 0
    rounds(world, 10)
    writes = len(world.writes)
    rounds(world, 100)
    assert len(world.writes) == writes


def test_what_the_steps_counted_of_the_stable_revision_is_what_the_next_one_is_held_to() -> None:
    world = promoted()
    baseline = rollout(world).baseline
    assert baseline.requests > 2000
    assert baseline.server_errors == 0
    rounds(world, 40)
    assert rollout(world).baseline == baseline


def test_without_a_baseline_nothing_is_told_of_errors_beside_it() -> None:
    world = promoted(SOURING, load=0)
    world.load = 400
    rounds(world, 60)
    assert is_watched_and_free(world)
    assert run_of(world).results[0].phase is MetricPhase.INCONCLUSIVE


def test_a_fixed_limit_needs_no_baseline() -> None:
    world = promoted(SOURING, {"name": "errors", "errorRatio": {"maxPercent": 5}}, load=0)
    world.load = 400
    until(world, lambda: condemned(world) == ["AnalysisFailed"])


def test_what_only_a_comparison_side_by_side_can_tell_is_not_measured() -> None:
    side_by_side = [{"name": "l", "latency": {"ratio": 2}}, {"name": "d", "drift": {}}]
    world = promoted(GOOD, *side_by_side, BESIDE)
    rounds(world, 20)
    assert world.observe(NAME).measured is None
    assert rollout(world).analysis is None


def test_a_query_that_names_the_stable_revision_is_not_put_and_another_is() -> None:
    world = promoted(GOOD, KERNEL, BESIDE)
    seen: set[str] = set()
    for _ in range(20):
        asked = world.observe(NAME).measured
        seen |= set(asked.answers) if asked is not None else set()
        round_of(world)
    assert seen == {"kernel"}


def test_a_query_out_of_its_range_takes_back_and_no_answer_does_not() -> None:
    world = promoted(GOOD, KERNEL, failureLimit=1, errorLimit=2)
    for nothing in (Unknown("timed out"), Known(None)):
        world.answers["kernel"] = nothing
        rounds(world, 60)
        assert is_watched_and_free(world)
    world.answers["kernel"] = Known(3.0)
    until(world, lambda: condemned(world) == ["AnalysisFailed"])


@pytest.mark.parametrize(("wrong", "is_taken_back"), [(5, False), (20, True)])
def test_true_labels_that_come_later_are_held_to_those_of_the_earlier_revision(wrong: int, is_taken_back: bool) -> None:
    world = promoted(GOOD, ACCURACY)
    first, second = str(serving(world).leaving), str(serving(world).stable)
    rounds(world, 6)
    for _ in range(60):
        world.label(NAME, first, right=95, wrong=5)
        world.label(NAME, second, right=100 - wrong, wrong=wrong)
        round_of(world)
    assert bool(serving(world).quarantine) is is_taken_back
    if is_taken_back:
        assert "80 % of" in serving(world).quarantine[0].message
        assert ", previous 95 % of " in serving(world).quarantine[0].message


def test_what_clients_did_wrong_is_not_the_promoted_revision_s_fault() -> None:
    world = promoted()
    stable = str(serving(world).stable)
    for _ in range(40):
        for gateway in world.gateways:
            counted = gateway.counted[NAME, stable]
            more = {"requests": counted.requests + 100, "client_errors": counted.client_errors + 100}
            gateway.counted[NAME, stable] = type(counted)(durations=counted.durations, **more)
        round_of(world)
    assert is_watched_and_free(world)


@pytest.mark.parametrize("fault", [Fault.MEASUREMENTS_UNREAD, Fault.RAY_UNREAD])
def test_what_cannot_be_read_takes_nothing_back(fault: Fault) -> None:
    world = promoted(SOURING, errorLimit=2)
    rounds(world, 20, fault)
    writes = len(world.writes)
    rounds(world, 40, fault)
    assert is_watched_and_free(world)
    assert len(world.writes) == writes, "nothing more is written while it stays away"
    until(world, lambda: condemned(world) == ["AnalysisFailed"])


def test_a_failure_is_remembered_first_and_an_outage_behind_it_is_not_the_model_s() -> None:
    world = promoted()
    rounds(world, 6)
    for number in (1, 2):
        world.stop_replicas(NAME, number)
    world.load = 40_000  # all of them fail, and a pass looks before anybody has seen why
    stable = str(serving(world).stable)
    application = world.applications[replicas_of(world, stable)]
    warm = world.applications[replicas_of(world, serving(world).leaving)]
    world.tick()
    for each in (application, warm):  # as the gateways' checks still see them
        each.running, each.is_hurt = 2, False
    until(world, lambda: run_of(world).phase is AnalysisPhase.FAILED)
    for each in (application, warm):
        each.running, each.is_hurt = 0, True
    rounds(world, 15)
    assert is_watched_and_free(world)
    assert rollout(world).analysis is None
    for each in (application, warm):
        each.is_stuck = False
    rounds(world, 60)
    assert is_watched_and_free(world)
    assert run_of(world).results[0].phase is MetricPhase.SUCCESSFUL


def test_requests_of_a_restart_are_left_out_and_those_before_it_kept() -> None:
    world = promoted()
    rounds(world, 30)
    before = run_of(world).sums.candidate
    assert before.requests > 0
    world.stop_replicas(NAME, 2)
    rounds(world, 10)
    assert run_of(world).sums.marks == ()
    world.applications[replicas_of(world, serving(world).stable)].is_stuck = False
    rounds(world, 30)
    after = run_of(world).sums.candidate
    assert after.server_errors == 0
    assert after.requests > before.requests
    assert is_watched_and_free(world)


def test_a_restarted_head_loses_nothing_and_condemns_nobody() -> None:
    world = promoted()
    rounds(world, 20)
    world.lose_ray()
    rounds(world, 80)
    assert is_watched_and_free(world)
    assert run_of(world).sums.candidate.server_errors == 0


def test_a_verdict_waits_for_a_warm_revision_that_could_take_over() -> None:
    world = promoted(SOURING)
    rounds(world, 2)
    warm = world.applications[replicas_of(world, serving(world).leaving)]
    world.stop_replicas(NAME, 1)
    rounds(world, 60)
    assert is_watched_and_free(world)
    assert run_of(world).phase is AnalysisPhase.FAILED
    warm.is_stuck = False
    until(world, lambda: condemned(world) == ["AnalysisFailed"])


def test_one_that_waits_for_more_replicas_is_judged_meanwhile() -> None:
    world = promoted(SOURING)
    world.applications[replicas_of(world, serving(world).stable)].is_stuck = True
    world.change(NAME, "scaling.replicas", 4)
    until(world, lambda: condemned(world) == ["AnalysisFailed"])


def test_a_dry_run_tells_and_leaves_it_where_it_is() -> None:
    world = promoted(SOURING, dryRun=True, window_s=120)
    rounds(world, 60)
    assert (is_watched_and_free(world), run_of(world).phase) == (True, AnalysisPhase.FAILED)
    until(world, lambda: serving(world).rollout is None)
    (event,) = [each for each in world.events if each.reason is Reason.ANALYSIS_IGNORED]
    assert "a dry run with the result Failed: errors: failed requests: promoted 20 % of" in event.message
    assert condemned(world) == []


def test_what_a_person_left_is_not_gone_back_to() -> None:
    world = promoted(window_s=60)
    world.advance(60)
    world.settle()
    world.load = 400
    world.ask(NAME, "Rollback")
    until(world, lambda: serving(world).phase is Phase.WATCHING)
    rounds(world, 10)
    assert rollout(world).analysis is None


def test_a_killed_operator_counts_neither_less_nor_twice() -> None:
    world = promoted(dryRun=True)
    for number in range(40):
        world.pass_model(NAME, Fault.STATUS_CONFLICT if number % 3 else Fault.NONE)
        world.tick()
    rounds(world, 6)
    run, stable = run_of(world), str(serving(world).stable)
    marked = sum(mark.candidate.requests for mark in run.sums.marks)
    counted = sum(gateway.counted[NAME, stable].requests for gateway in world.gateways)
    assert counted - marked <= 400 * len(world.gateways) * 6
    assert 0 < run.sums.candidate.requests <= marked


def test_a_third_revision_ends_it() -> None:
    world = promoted()
    rounds(world, 10)
    world.change(NAME, "model.uri", "file:///m/3")
    until(world, lambda: serving(world).phase is Phase.STARTING)
    assert rollout(world).analysis is None
    assert rollout(world).baseline.requests == 0


def test_the_time_to_confirm_is_longer_than_an_outage_hides() -> None:
    # The gateways' checks need 3 times 500 ms, their answers are 0.2 s old, and the status keeps whole seconds.
    assert after_promotion.CONFIRM_S > 3
