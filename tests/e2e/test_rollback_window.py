"""After a promotion the old revision stays warm: back by request at once, by itself when the new one keeps dying."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.asking import asked, fairlead, next_version
from tests.e2e.counted import CONNECTIONS, count_by_revision, counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import LONG_RATE, Model, Stage, condition
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(10_000)
TABLE = "Within the rollback window"
WINDOW: dict[str, Any] = {"rollbackWindow": {"seconds": 600}}
CRASHES = 3


@pytest.fixture(scope="module")
def window(stage: Stage) -> Iterator[Model]:
    with stage.deployed("window") as model:
        yield model


def is_watched(found: dict[str, Any]) -> bool:
    status = found.get("status") or {}
    return (
        (status.get("rollout") or {}).get("phase") == "Watching"
        and status["observedGeneration"] == found["metadata"]["generation"]
        and condition(found, "Ready").get("status") == "True"
    )


def promoted(model: Model, label: str, **rollout: Any) -> tuple[str, str]:
    """Another version, promoted and watched; the revision that stays warm, and the stable one."""
    model.apply(next_version(model), label=label, rollout={**WINDOW, **rollout})
    found = model.until("promoted and watched", is_watched)
    return found["status"]["rollout"]["previousRevision"], found["status"]["stableRevision"]


def starts(stage: Stage, model: Model) -> dict[str, int]:
    return {revision: stage.ray.starts(model.name, revision) for revision in stage.ray.applications(model.name)}


def test_a_rollback_within_the_window_starts_nothing(stage: Stage, window: Model) -> None:
    model = window
    with counted(model, rate=LONG_RATE) as run:
        warm, stable = promoted(model, "promoted")
        run.wait_until(lambda seen: seen.revisions.get(stable, 0) > 500, timeout_s=400)
        kill_operator(stage.local)
        _until_routed_to(stage, model)
        before = starts(stage, model)
        assert set(before) == {warm, stable}
        asked_at_s = time.monotonic()
        asked(stage, "rollback", model)
        answered_s = time.monotonic() - asked_at_s
        took_s = _back_after_s(model, warm, asked_at_s)
        model.until("back", lambda found: found["status"]["stableRevision"] == warm)
        answered = count_by_revision(run, stable)
        kill_operator(stage.local)
        model.until("at rest", lambda found: "rollout" not in found["status"])
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
        assert stage.ray.starts(model.name, warm) == before[warm], "a replica was started for the way back"
    require_no_failures(report)
    assert report.revisions[stable].count <= answered + CONNECTIONS
    RESULTS.add(
        TABLE,
        {
            "what": "rollback by request, operator killed twice",
            "requests": report.requests,
            "failed": report.failed,
            "request answered after s": round(answered_s, 2),
            "all on the old one after s": round(took_s, 2),
        },
    )


def _until_routed_to(stage: Stage, model: Model) -> None:
    """An operator that was killed left a Lease to run out; the next one answers once it has it."""
    until(lambda: "is not in quarantine" in fairlead(stage, "retry", model)[1], "an operator leads", deadline_s=400)


def _back_after_s(model: Model, warm: str, since_s: float) -> float:
    until(
        lambda: all(model.infer(model_rows(model)).headers["x-fairlead-revision"] == warm for _ in range(10)),
        "ten answers in a row by the old revision",
        deadline_s=400,
    )
    return time.monotonic() - since_s


def model_rows(model: Model) -> list[list[float]]:
    return [[0.0] * 64]


def test_a_new_revision_that_keeps_crashing_is_replaced(stage: Stage) -> None:
    with stage.deployed("crashes", replicas=2) as model, counted(model) as run:
        warm, stable = promoted(model, "crashing", progressDeadlineSeconds=300)
        killed_at_s: list[float] = []
        seen: set[int] = set()
        for number in range(1, CRASHES + 1):
            killed_at_s.append(run.progress().elapsed_s)
            _kill_one(stage, model, stable, seen=seen)
            model.until(f"seen to have crashed {number} times", lambda found, least=number: _crashes(found) >= least)
        found = model.until("taken back", lambda found: found["status"]["stableRevision"] == warm)
        took_s = run.progress().elapsed_s - killed_at_s[-1]
        model.until("at rest", lambda found: "rollout" not in found["status"])
        kill_operator(stage.local)
        seen_at_rest = count_by_revision(run, stable)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
        events = [reason for reason, _ in model.events()]
    assert [entry["reason"] for entry in found["status"]["quarantine"]] == ["CrashLoop"]
    assert {"RolloutFailed", "RolledBackAutomatically"} <= set(events)
    assert report.revisions[stable].count == seen_at_rest, "the failed revision was tried again"
    assert report.failed <= CRASHES, report.summary()
    RESULTS.add(
        TABLE,
        {
            "what": f"taken back after {CRASHES} crashes of one of two replicas",
            "requests": report.requests,
            "failed": report.failed,
            "back after the last crash s": round(took_s, 2),
        },
    )


def _crashes(found: dict[str, Any]) -> int:
    status = found["status"]
    if status.get("quarantine"):
        return CRASHES
    return len(((status.get("rollout") or {}).get("health") or {}).get("crashes") or ())


def _kill_one(stage: Stage, model: Model, revision: str, *, seen: set[int]) -> None:
    """One replica of a revision that has two which are ready.

    It is one that has started since the last call: two of the replicas that ran together, lost one soon after the
    other, count as one crash.
    """

    def ready() -> list[int]:
        application = stage.ray.applications(model.name)[revision]
        replicas = [r for d in application["deployments"].values() for r in d["replicas"]]
        pids = [r["pid"] for r in replicas if r["state"] == "RUNNING" and r.get("pid")]
        return pids if application["status"] == "RUNNING" and len(pids) == 2 else []

    until(lambda: bool(set(ready()) - seen), f"two replicas of {revision} are ready", deadline_s=400)
    model.until("well", lambda found: "unwellSince" not in ((found["status"].get("rollout") or {}).get("health") or {}))
    running = set(ready())
    os.kill((running - seen).pop(), signal.SIGKILL)
    seen |= running


def test_a_blue_green_rollout_promotes_and_scales_down_after_its_delays(stage: Stage, window: Model) -> None:
    model, first = window, window.stable
    with counted(model, rate=LONG_RATE) as run:
        timed = {"autoPromoteSeconds": 5, "scaleDownDelaySeconds": 15}
        model.apply(next_version(model), label="green", rollout={"strategy": "BlueGreen", "blueGreen": timed})
        model.until("waiting", lambda found: condition(found, "Progressing").get("reason") == "StepPaused")
        kill_operator(stage.local)
        model.until("switched", lambda found: (found["status"].get("rollout") or {}).get("phase") == "Watching")
        assert set(stage.ray.applications(model.name)) == {first, model.stable}
        kill_operator(stage.local)
        model.until("at rest", lambda found: "rollout" not in found["status"])
        until(lambda: len(stage.ray.applications(model.name)) == 1, "the old one is gone", deadline_s=400)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    require_no_failures(report)
    assert set(report.revisions) == {first, model.stable}
    _keep("BlueGreen by itself, operator killed twice", report)


@pytest.mark.nightly
def test_a_blue_green_rollout_is_aborted_before_the_switch_and_rolled_back_after_it(
    stage: Stage, window: Model
) -> None:
    model, stable = window, window.stable
    rollout = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelaySeconds": 300}}
    with counted(model) as run:
        model.apply(next_version(model), label="aborted-first", rollout=rollout)
        candidate = model.until("ready, without traffic", is_previewed)["status"]["candidateRevision"]
        asked(stage, "abort", model)
        kill_operator(stage.local)
        model.until("withdrawn", lambda found: "rollout" not in found["status"])
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        aborted = run.stop()
    require_no_failures(aborted)
    assert set(aborted.revisions) == {stable}
    _keep("BlueGreen aborted before the switch, operator killed", aborted)
    with counted(model, rate=LONG_RATE) as run:
        asked(stage, "retry", model)
        model.until("ready again", is_previewed)
        asked(stage, "promote", model)
        model.until("switched", is_watched)
        run.wait_until(lambda seen: seen.revisions.get(candidate, 0) > 1000, timeout_s=400)
        before = starts(stage, model)
        asked(stage, "rollback", model)
        kill_operator(stage.local)
        model.until("back", lambda found: found["status"]["stableRevision"] == stable)
        model.until("at rest", lambda found: "rollout" not in found["status"])
        answered = count_by_revision(run, candidate)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    require_no_failures(report)
    assert report.revisions[candidate].count <= answered + CONNECTIONS
    assert stage.ray.starts(model.name, stable) == before[stable], "a replica was started for the way back"
    _keep("BlueGreen promoted, rolled back within scaleDownDelaySeconds, operator killed", report)


def is_previewed(found: dict[str, Any]) -> bool:
    status = found["status"]
    return status.get("phase") == "Paused" and status["observedGeneration"] == found["metadata"]["generation"]


def _keep(what: str, report: load.Report) -> None:
    RESULTS.add(TABLE, {"what": what, "requests": report.requests, "failed": report.failed})
