"""A model moves to another Ray cluster and back by `spec.cluster.class` alone, while clients ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.ray_view import RAY_POLL_S, RayView
from tests.e2e.second_class import CPUS, NAME, second_class
from tests.e2e.stage import Model, Stage, condition
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
REQUESTS = request_counts.at_least(30_000)
REPLICAS = 2
THERE = {"class": NAME}
BACK = {"class": "default"}
TABLE = "A move to another class"


@pytest.fixture(scope="module")
def second(stage: Stage) -> Iterator[RayView]:
    with second_class(stage) as view:
        yield view


def test_a_model_moves_there_and_back_without_a_failed_request(stage: Stage, second: RayView) -> None:
    with stage.deployed("moving", replicas=REPLICAS) as model, counted(model) as run:
        first = model.stable
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
        model.apply(cluster=THERE)
        model.until_settled(other_than=first)
        there = model.stable
        _require_alone(model, there, on=second, left=stage.ray)
        answered = run.progress().requests
        run.wait_until(lambda seen: seen.requests > max(REQUESTS // 2, answered + 500), timeout_s=1200)
        model.apply(cluster=BACK)
        model.until_settled(other_than=there)
        assert model.stable == first, "the same model on the same cluster is the same revision"
        _require_alone(model, first, on=stage.ray, left=second)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=1200)
        report = run.stop()
    _keep(report, "there and back")
    require_no_failures(report)
    assert report.revisions.keys() == {first, there}


@pytest.mark.nightly
def test_a_move_ends_well_when_the_operator_is_killed_in_its_middle(stage: Stage, second: RayView) -> None:
    with stage.deployed("killed", replicas=REPLICAS) as model, counted(model) as run:
        for place, on, left in ((THERE, second, stage.ray), (BACK, stage.ray, second)):
            before = model.stable
            model.apply(cluster=place)
            model.until("on its way", lambda found: found["status"].get("candidateRevision"))
            kill_operator(stage.local)
            model.until_settled(other_than=before)
            _require_alone(model, model.stable, on=on, left=left)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=1200)
        report = run.stop()
    _keep(report, "there and back, operator killed in the middle of each")
    require_no_failures(report)


@pytest.mark.nightly
def test_a_move_in_the_middle_of_a_rollout_takes_its_place(stage: Stage, second: RayView) -> None:
    with stage.deployed("both", replicas=REPLICAS) as model, counted(model) as run:
        first = model.stable
        model.apply("v2")
        candidate = model.until("rolling out", lambda found: found["status"].get("candidateRevision"))
        model.apply("v2", cluster=THERE)
        model.until_settled(other_than=first)
        assert model.stable != candidate["status"]["candidateRevision"]
        _require_alone(model, model.stable, on=second, left=stage.ray)
        assert model.status()["model"]["version"] == "v2"
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=1200)
        report = run.stop()
    _keep(report, "another version and another class at once, in the middle of a rollout")
    require_no_failures(report)


def test_a_move_to_a_class_without_room_is_refused_before_anything_changes(stage: Stage, second: RayView) -> None:
    large = {"serving": {"resources": {"cpu": str(CPUS + 0.5), "memory": "400Mi"}}}
    with stage.deployed("large", **large) as model, counted(model) as run:
        first, processes = model.stable, stage.ray.replica_pids("large")
        model.apply(**large, cluster=THERE)
        found = model.until("refused", lambda found: condition(found, "Stalled").get("status") == "True")
        refused = condition(found, "Stalled")
        assert refused["reason"] == "InsufficientCapacity"
        assert f"Ray cluster {NAME} has room for 0." in refused["message"]
        assert "The model stays where it is" in refused["message"]
        assert (model.stable, stage.ray.replica_pids("large")) == (first, processes)
        assert not second.applications("large")
        model.apply(**large, cluster=BACK)
        model.until_settled()
        assert (model.stable, stage.ray.replica_pids("large")) == (first, processes)
        report = run.stop()
    _keep(report, "refused for want of room, then taken back")
    require_no_failures(report)


def test_a_class_that_is_not_there_is_named(stage: Stage, second: RayView) -> None:
    with stage.deployed("lost") as model:
        first = model.stable
        model.apply(cluster={"class": "gpu"})
        found = model.until("refused", lambda found: condition(found, "Accepted").get("status") == "False")
        refused = condition(found, "Accepted")
        assert refused["reason"] == "NoServingClass"
        assert f"Set spec.cluster.class to one of default, {NAME}" in refused["message"]
        assert model.stable == first
        assert condition(found, "Available")["status"] == "True"


def _require_alone(model: Model, revision: str, *, on: RayView, left: RayView) -> None:
    """It runs there, and nothing of the model runs any more where it was."""
    assert revision in on.applications(model.name)
    until(
        lambda: not left.applications(model.name),
        f"nothing of {model.name} runs on the cluster that it left",
        deadline_s=400,
        poll_s=RAY_POLL_S,
        explain=model.explain,
    )


def _keep(report: load.Report, what: str) -> None:
    RESULTS.add(
        TABLE,
        {
            "what": what,
            "requests": report.requests,
            "failed": report.failed,
            "longest time without an answer, ms": report.longest_gap_s * 1000,
            "p99, ms": report.latency.p99_ms if report.latency is not None else "",
        },
    )
