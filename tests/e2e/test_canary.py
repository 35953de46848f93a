"""A canary under load: the split is exact, no request fails, and people drive it with `kubectl fairlead`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.asking import asked, fairlead, next_version
from tests.e2e.counted import CONNECTIONS, count_by_revision, counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_for_good, kill_operator, start_operator
from tests.e2e.second_gateway import Gateway, two_gateways
from tests.e2e.stage import LONG_RATE, Model, Stage, condition
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(30_000, daily=1_000)
AFTER = request_counts.at_least(2_000, daily=200)
"""Of a gateway, after its table has changed or the other one's has."""
TABLE = "A canary under load"
STEPS: list[dict[str, Any]] = [{"setWeight": 1}, {"setWeight": 25}, {"pause": {}}, {"setWeight": 60}]
COUNTED: dict[str, Any] = {
    "intervalSeconds": 1,
    "dryRun": True,
    "metrics": [{"name": "errors", "errorRatio": {"marginPercent": 1}}],
}


@pytest.fixture(scope="module")
def canary(stage: Stage) -> Iterator[Model]:
    with stage.deployed("canary") as model:
        yield model


def begin(model: Model, label: str, **rollout: Any) -> tuple[str, str]:
    """Another version, come to its pause at 25 %; the stable revision and the candidate."""
    model.until_settled()
    model.apply(next_version(model), label=label, rollout={"strategy": "Canary", "steps": STEPS, **rollout})
    found = model.until("paused at 25 %", is_paused_at_25)
    return found["status"]["stableRevision"], found["status"]["candidateRevision"]


def is_paused_at_25(found: dict[str, Any]) -> bool:
    status = found.get("status") or {}
    return (
        status.get("phase") == "Paused"
        and status["rollout"]["weight"] == 25
        and status["observedGeneration"] == found["metadata"]["generation"]
    )


def sums(model: Model) -> dict[str, int]:
    """The requests that the analysis of this step has counted; empty before its first reading."""
    found = model.status()["rollout"].get("analysis")
    return {who: found.get(who, {}).get("requests", 0) for who in ("stable", "candidate")} if found else {}


def keep(report: load.Report, what: str) -> None:
    RESULTS.add(TABLE, {"what": what, "requests": report.requests, "failed": report.failed, "requests/s": report.rate})


def test_25_percent_is_exact_at_each_of_two_gateways_and_a_promote_waits_for_both(stage: Stage, canary: Model) -> None:
    asking = canary.load(connections=CONNECTIONS // 2, rate=LONG_RATE)
    at_once = asking.model_copy(update={"requests": REQUESTS, "rate_limit": None})
    with two_gateways(stage) as second:
        stable, candidate = begin(canary, "split", analysis=COUNTED)
        until(lambda: sums(canary), "the measurements begin", deadline_s=400, explain=canary.explain)
        urls = (stage.local.gateway_url, second.data_url)
        limited = [at_once.model_copy(update={"url": url, "id_prefix": url[-5:]}) for url in urls]
        with load.background(limited[0]) as one, load.background(limited[1]) as other:
            reports = [each.wait(timeout_s=300) for each in (one, other)]
        for number, report in enumerate(reports, start=1):
            require_no_failures(report)
            got = report.revisions[candidate].count
            keep(report, f"held at 25 % at gateway {number} of two: {got:,} to the candidate")
            assert abs(got - REQUESTS / 4) <= 1
        stables, candidates = ([report.revisions[name].count for report in reports] for name in (stable, candidate))
        summed = {"stable": sum(stables), "candidate": sum(candidates)}
        until(
            lambda: sums(canary) == summed,
            f"the measurements of both are summed: {summed}",
            deadline_s=400,
            explain=canary.explain,
        )
        _promoted_at_both(stage, canary, second, asking, (stable, candidate))


def _promoted_at_both(
    stage: Stage, canary: Model, second: Gateway, asking: load.Settings, revisions: tuple[str, str]
) -> None:
    """One agent is stopped: the other gateway moves its traffic, and the old revision stays for the callers of both."""
    stable, candidate = revisions
    there = asking.model_copy(update={"url": second.data_url, "id_prefix": "second"})
    with load.background(asking) as here, load.background(there) as beyond:
        with second.stopped():
            asked(stage, "promote", canary, "--full")
            canary.until("waiting for the gateway", lambda found: "Cannot read gateway gateway-1" in _progress(found))
            until(lambda: _has_moved(stage, canary), "the first gateway has the new table", deadline_s=400)
            moved = count_by_revision(here, stable), count_by_revision(beyond, stable)
            here.wait_until(lambda seen: seen.requests > REQUESTS // 3, timeout_s=400)
            beyond.wait_until(lambda seen: seen.revisions.get(stable, 0) > moved[1] + AFTER, timeout_s=400)
            assert count_by_revision(here, stable) <= moved[0] + CONNECTIONS
            _stays(stage, canary, stable)
        canary.until_settled(other_than=stable)
        until(lambda: set(stage.ray.applications(canary.name)) == {candidate}, "the old one is gone", deadline_s=400)
        passed = count_by_revision(beyond, candidate)
        beyond.wait_until(lambda seen: seen.revisions.get(candidate, 0) > passed + AFTER, timeout_s=400)
        reports = here.stop(), beyond.stop()
    for report, what in zip(reports, ("the first", "the one whose agent was stopped"), strict=True):
        require_no_failures(report)
        keep(report, f"promoted from 25 %, two gateways: {what}")


def _progress(found: dict[str, Any]) -> str:
    return str(condition(found, "Progressing").get("message", ""))


def _has_moved(stage: Stage, model: Model) -> bool:
    entry = stage.api.routes()[model.name]
    return entry["candidateWeight"] == 10_000 and stage.live()[model.name]["version"] == entry["version"]


def _stays(stage: Stage, model: Model, stable: str) -> None:
    """Also after the operator looked again, and again: all replicas, and the word that it is the stable one."""
    passes = stage.operator_metric("fairlead_operator_reconcile_total", kind="ModelKey")
    until(
        lambda: stage.operator_metric("fairlead_operator_reconcile_total", kind="ModelKey") >= passes + 2,
        "two more passes",
        deadline_s=400,
    )
    application = stage.ray.applications(model.name)[stable]
    assert [each["target_num_replicas"] for each in application["deployments"].values()] == [1]
    assert model.stable == stable


@pytest.mark.nightly
def test_an_abort_withdraws_the_candidate_and_its_spec_is_not_tried_again(stage: Stage, canary: Model) -> None:
    stable, candidate = begin(canary, "abort")
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.revisions.get(candidate, 0) > 500, timeout_s=400)
        asked(stage, "abort", canary)
        canary.until("withdrawn", lambda found: "rollout" not in found["status"])
        answered = count_by_revision(run, candidate)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    require_no_failures(report)
    keep(report, "aborted at 25 %")
    assert report.revisions[candidate].count <= answered + CONNECTIONS
    found = canary.read() or {}
    assert found["status"]["stableRevision"] == stable
    assert condition(found, "Ready")["reason"] == "Aborted"
    assert fairlead(stage, "promote", canary)[0] == 1, "there is no candidate to promote"
    asked(stage, "retry", canary)
    canary.until("paused at 25 % again", is_paused_at_25)
    asked(stage, "promote", canary)
    canary.until_settled(other_than=stable)


def test_a_killed_operator_finds_the_step_and_the_pause_as_they_were(stage: Stage, canary: Model) -> None:
    steps: list[dict[str, Any]] = [
        {"setWeight": 25},
        {"pause": {"durationSeconds": 20}},
        {"setWeight": 50},
        {"pause": {}},
    ]
    canary.until_settled()
    before = canary.stable
    with counted(canary, rate=LONG_RATE) as run:
        canary.apply(next_version(canary), label="killed", rollout={"strategy": "Canary", "steps": steps})
        canary.until("in its pause", lambda found: condition(found, "Progressing").get("reason") == "StepPaused")
        began = canary.status()["rollout"]["stepStartedAt"]
        kill_operator(stage.local)
        now = canary.status()["rollout"]
        # A busy machine may need more than the pause to start the operator.
        assert now["step"] > 1 or now["stepStartedAt"] == began, "the pause did not begin again"
        canary.until("paused at 50 %", lambda found: (found["status"].get("rollout") or {}).get("step") == 3)
        kill_operator(stage.local)
        asked(stage, "promote", canary)
        canary.until_settled(other_than=before)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    require_no_failures(report)
    keep(report, "operator killed at 25 % and at 50 %")
    handled = canary.status()["handledRequest"]
    assert (handled["verb"], handled["outcome"]) == ("Promote", "Done")


@pytest.mark.nightly
def test_no_other_request_replaces_a_pending_abort_of_a_running_rollout(stage: Stage, canary: Model) -> None:
    stable, candidate = begin(canary, "abort-wins")
    kill_for_good(stage.local, "operator")
    try:
        assert "is requested and not carried out yet" in fairlead(stage, "promote", canary, "--timeout", "1")[1]
        assert "is requested and not carried out yet" in fairlead(stage, "abort", canary, "--timeout", "1")[1]
        assert "not carried out yet" in fairlead(stage, "promote", canary, "--full")[1]
        request = {"id": "by-hand", "verb": "PromoteFull", "revision": candidate, "time": "2026-01-01T00:00:00Z"}
        patch = json.dumps({"status": {"request": request}})
        by_hand = ("patch", "mdep", canary.name, "--subresource=status", "--type=merge", "-p", patch)
        done = stage.kubectl_tried(*by_hand)
        assert done.returncode != 0
        assert "must not be replaced while an Abort is pending" in done.stderr
    finally:
        start_operator(stage.local)
    found = canary.until("withdrawn", lambda found: "rollout" not in found["status"])
    assert found["status"]["stableRevision"] == stable


@pytest.mark.nightly
def test_a_rollback_by_number_holds_against_a_resync_until_a_retry(stage: Stage, canary: Model) -> None:
    canary.apply(next_version(canary), label="to-leave", rollout={"strategy": "Canary", "steps": [{"setWeight": 50}]})
    canary.until_settled()
    left = canary.stable
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
        asked(stage, "rollback", canary)
        canary.until("gone back", lambda found: found["status"]["stableRevision"] != left)
        canary.until("at rest", lambda found: "rollout" not in found["status"])
        kill_operator(stage.local)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    require_no_failures(report)
    keep(report, "rolled back by request")
    assert condition(canary.read() or {}, "Ready")["reason"] == "RolledBack"
    asked(stage, "retry", canary)
    canary.until_settled(other_than=canary.stable)
    assert canary.stable == left


@pytest.mark.nightly
def test_a_candidate_that_keeps_crashing_with_traffic_is_withdrawn(stage: Stage, canary: Model) -> None:
    stable, candidate = begin(canary, "dying")
    with counted(canary, rate=400) as run:
        run.wait_until(lambda seen: seen.revisions.get(candidate, 0) > 200, timeout_s=400)

        killed_pids: set[int] = set()

        def is_given_up(found: dict[str, Any]) -> bool:
            killed_pids.update(_kill_all(stage, canary, candidate))
            return any(entry["revision"] == candidate for entry in found["status"].get("quarantine", ()))

        found = canary.until("given up", is_given_up)
        canary.until("withdrawn", lambda seen: "rollout" not in seen["status"])
        before = run.progress()
        before = run.wait_until(lambda seen: seen.requests > before.requests + 500, timeout_s=400)
        run.wait_until(lambda seen: seen.requests > before.requests + 2000, timeout_s=400)
        report = run.stop()
    assert canary.stable == stable
    reason = found["status"]["quarantine"][-1]["reason"]
    assert reason in ("CrashLoop", "ReadinessLost"), found["status"]["quarantine"]
    keep(report, f"the candidate's process killed again and again at 25 %, taken back: {reason}")
    # Without another replica a killed process loses its requests in flight; all others get 503 at once.
    lost = [each for each in report.failures if each.status not in (502, 503)]
    assert {each.kind for each in lost} <= {load.Kind.RESET}, report.summary()
    assert len(lost) <= CONNECTIONS * len(killed_pids), report.summary()
    assert report.failed + report.revisions[candidate].count <= report.requests / 4 + CONNECTIONS, "not its share alone"
    assert report.failed == before.failed, "a request failed after it was withdrawn"


def _kill_all(stage: Stage, model: Model, revision: str) -> list[int]:
    """The processes of the revision's replicas, which are no more."""
    application = stage.ray.applications(model.name).get(revision, {"deployments": {}})
    replicas = [each for deployment in application["deployments"].values() for each in deployment["replicas"]]
    pids = [each["pid"] for each in replicas if each["state"] == "RUNNING" and each.get("pid")]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids
