"""A canary that is judged on live traffic: a bad candidate is taken back by itself, a good one is promoted."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.e2e import worsened
from tests.e2e.asking import asked
from tests.e2e.counted import CONNECTIONS, count_by_revision, require_no_failures
from tests.e2e.measured import RESULTS, Cell
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Model, Stage, condition
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
TABLE = "A canary judged on live traffic"
BODIES = 61
RATE = 300.0
"""A verdict waits for so many requests, whatever their rate."""
BAD = 3
"""3 of 61 bodies, 4.9 %, are inputs that the failing version doesn't know."""
WAYS_BACK_S: list[float] = []
"""From each verdict to all traffic on the stable revision."""
ROLLOUT: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"setWeight": 25}, {"analysis": {}}],
    "analysis": {
        "intervalSeconds": 1,
        "count": 300,
        "metrics": [
            {"name": "errors", "errorRatio": {"marginPercent": 1}},
            {"name": "p95", "latency": {"quantile": 0.95, "ratio": 2}},
        ],
    },
}

BY_THE_MEDIAN: dict[str, Any] = {
    **ROLLOUT,
    "analysis": {**ROLLOUT["analysis"], "metrics": [{"name": "p50", "latency": {"quantile": 0.5, "ratio": 2}}]},
}
"""Beside other tests one answer of twenty waits for a processor longer than it works: p95 is the machine's then."""
COUNTED = 4_000
DRY_RUN: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"setWeight": 25}, {"pause": {}}],
    "analysis": {**ROLLOUT["analysis"], "dryRun": True},
}


@pytest.fixture(scope="module", autouse=True)
def worse_versions(stage: Stage) -> None:
    worsened.make(stage.models.folder)


@pytest.fixture(scope="module")
def judged(stage: Stage) -> Iterator[Model]:
    with stage.deployed("judged") as model:
        yield model


@contextmanager
def loaded(stage: Stage, model: Model, *, connections: int = CONNECTIONS) -> Iterator[load.Background]:
    with load.background(settings_of(stage, model, connections=connections)) as run:
        yield run


def settings_of(stage: Stage, model: Model, *, connections: int = CONNECTIONS) -> load.Settings:
    """Requests; one in twenty has a pixel brighter than any that was trained."""
    settings = model.load(connections=connections, rate=RATE)
    rows = stage.models.inputs(BODIES)
    for row in rows[:BAD]:
        row[0] = 2 * worsened.KNOWN_BELOW
    tensor = json.loads(settings.bodies[0])["inputs"][0]
    bodies = tuple(json.dumps({"inputs": [{**tensor, "data": row}]}).encode() for row in rows)
    return settings.model_copy(update={"bodies": bodies})


class Watched:
    """When the verdict on a candidate was written, by the time of the API server."""

    def __init__(self, stage: Stage, model: Model) -> None:
        self._stage, self._model = stage, model
        self.verdict_at_s: float | None = None
        self.reported = ""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        known = len(self._model.status().get("quarantine", ()))
        with contextlib.suppress(httpx.TransportError):  # the API server's end is another test's matter
            self._until_more_than(known)

    def _until_more_than(self, known: int) -> None:
        for found in self._stage.api.watch(self._stage.api.models_path(), self._model.name):
            entries = found["status"].get("quarantine", ())
            if len(entries) > known:
                self.verdict_at_s, self.reported = time.monotonic(), entries[-1]["message"]
                return

    def until_back_s(self, revision: str) -> float:
        """Seconds from the verdict to a gateway that gives all traffic to this revision."""
        until(lambda: self.verdict_at_s, "the verdict", deadline_s=400, poll_s=0.002, explain=self._model.explain)
        wanted = None

        def is_back() -> bool:
            nonlocal wanted
            entry = self._stage.api.routes()[self._model.name]
            wanted = entry["version"] if (entry.get("stable"), entry.get("candidate")) == (revision, None) else None
            live = self._stage.live().get(self._model.name, {})
            return wanted is not None and live.get("version") == wanted

        until(is_back, f"all traffic on {revision}", deadline_s=400, poll_s=0.002, explain=self._model.explain)
        assert self.verdict_at_s is not None
        return time.monotonic() - self.verdict_at_s


def needed(reported: str) -> int:
    """The candidate's requests at the verdict, from its own words."""
    found = re.search(r"(?:candidate|promoted) [^;]*?(?: of |\()([\d,]+)", reported)
    assert found is not None, reported
    return int(found.group(1).replace(",", ""))


def medians(report: load.Report, stable: str) -> str:
    (candidate,) = (each for name, each in report.revisions.items() if name != stable)
    return f"{candidate.latency.p50_ms:.1f}, {report.revisions[stable].latency.p50_ms:.1f}"


def taken_back(
    stage: Stage,
    model: Model,
    version: str,
    *,
    rollout: dict[str, Any] = ROLLOUT,
    times: int = 1,
    connections: int = CONNECTIONS,
) -> list[float]:
    """A bad version is rolled out, and again by a retry; how long each way back took."""
    stable, took_s = model.stable, []
    for attempt in range(times):
        with loaded(stage, model, connections=connections) as run:
            run.wait_until(lambda seen: seen.requests > 100, timeout_s=400)
            if attempt:
                asked(stage, "retry", model)
                until(lambda: not model.status().get("quarantine"), "the quarantine lifted", deadline_s=400)
            watched = Watched(stage, model)
            if not attempt:
                model.apply(version, label=version, rollout=rollout)
            took_s.append(watched.until_back_s(stable))
            model.until("withdrawn", lambda found: "rollout" not in found["status"])
            report = run.stop()
        assert model.stable == stable
        candidate = sum(each.count for name, each in report.revisions.items() if name != stable)
        others = [each for each in report.failures if each.status != 500 or each.revision == stable]
        assert others == [], report.summary()
        row: dict[str, Cell] = {
            "candidate": version,
            "verdict": watched.reported,
            "its requests at the verdict": needed(watched.reported),
        }
        row |= {"its answers in all": candidate + report.failed, "failed": report.failed, "s to the stable": took_s[-1]}
        row |= {"p50 of its and the stable's answers, ms": medians(report, stable)}
        RESULTS.add(TABLE, row)
    found = model.read() or {}
    assert condition(found, "Ready")["reason"] == "RolloutFailed"
    assert "AnalysisFailed" in condition(found, "Ready")["message"]
    return took_s


def test_each_request_is_counted_once_though_the_operator_is_killed_while_it_counts(
    stage: Stage, judged: Model
) -> None:
    asking = settings_of(stage, judged).model_copy(update={"requests": COUNTED, "rate_limit": COUNTED / 20})
    stable = judged.stable
    judged.apply("failing", label="failing", rollout=DRY_RUN)
    judged.until("measured in its pause", lambda found: bool(marks(found)))
    with load.background(asking) as run:
        already = until(lambda: counts(judged)[2], "some are counted", deadline_s=400, explain=judged.explain)
        kill_operator(stage.local)
        report = run.wait(timeout_s=400)
    assert {(each.status, each.revision == stable) for each in report.failures} == {(500, False)}, report.summary()
    right = {name: each.count for name, each in report.revisions.items()}
    candidate = sum(right.values()) - right[stable]
    reported = [right[stable], 0, candidate + report.failed, report.failed]
    until(lambda: counts(judged) == reported, f"the sums are {reported}", deadline_s=400, explain=judged.explain)
    assert already < candidate + report.failed
    row: dict[str, Cell] = {
        "candidate": f"failing, dry run, operator killed after {already} of its requests were counted"
    }
    row |= {"verdict": f"stable, its 5xx, candidate, its 5xx: {counts(judged)}; the client's own: {reported}"}
    RESULTS.add(TABLE, row | {"its answers in all": candidate + report.failed, "failed": report.failed})


def measured(found: dict[str, Any]) -> dict[str, Any]:
    rollout = found["status"].get("rollout") or {}
    return dict(rollout.get("analysis") or {}) if rollout.get("step") == 1 else {}


def marks(found: dict[str, Any]) -> list[Any]:
    return list(measured(found).get("marks") or ())


def counts(model: Model) -> list[int]:
    """Requests and 5xx of the stable revision, then of the candidate, since the step began."""
    found = measured(model.read() or {})
    kinds = ("requests", "serverErrors")
    return [found.get(who, {}).get(kind, 0) for who in ("stable", "candidate") for kind in kinds]


def test_a_candidate_with_five_percent_errors_is_withdrawn_each_time(stage: Stage, judged: Model) -> None:
    """The first time at once: the counts of the dry run show it already."""
    WAYS_BACK_S.extend(taken_back(stage, judged, "failing", times=2))


@pytest.mark.nightly
def test_a_revision_that_fails_after_its_promotion_is_replaced_within_the_window(stage: Stage) -> None:
    rollout = {
        **ROLLOUT,
        "analysis": {**ROLLOUT["analysis"], "metrics": [{"name": "errors", "errorRatio": {"marginPercent": 1}}]},
        "rollbackWindow": {"seconds": 600},
    }
    with stage.deployed("turning") as model:
        warm = model.stable
        with load.background(model.load(connections=2)) as run:
            run.wait_until(lambda seen: seen.requests > 100, timeout_s=400)
            model.apply("failing", label="turning", rollout=rollout)
            model.until("promoted and watched", lambda found: found["status"]["stableRevision"] != warm)
            require_no_failures(run.stop())
        promoted = model.stable
        kill_operator(stage.local)
        started = stage.ray.starts(model.name, warm)
        watched = Watched(stage, model)
        with loaded(stage, model) as run:
            took_s = watched.until_back_s(warm)
            answered = count_by_revision(run, warm)
            run.wait_until(lambda seen: seen.revisions.get(warm, 0) > answered + 2000, timeout_s=400)
            model.until("at rest", lambda found: "rollout" not in found["status"])
            report = run.stop()
        assert model.stable == warm
        assert stage.ray.starts(model.name, warm) == started, "a replica was started for the way back"
        reported = dict(model.events())
    assert {(each.status, each.revision) for each in report.failures} == {(500, promoted)}, report.summary()
    assert {"RolloutFailed", "RolledBackAutomatically"} <= set(reported)
    row: dict[str, Cell] = {
        "candidate": "good until its promotion; operator killed after it",
        "verdict": watched.reported,
        "its requests at the verdict": needed(watched.reported),
    }
    answers = report.revisions[promoted].count + report.failed
    RESULTS.add(TABLE, row | {"its answers in all": answers, "failed": report.failed, "s to the stable": took_s})


def test_a_good_candidate_is_promoted_without_a_person(stage: Stage, judged: Model) -> None:
    before = judged.stable
    with loaded(stage, judged) as run:
        run.wait_until(lambda seen: seen.requests > 200, timeout_s=400)
        judged.apply("v2", label="good", rollout=ROLLOUT)
        judged.until_settled(other_than=before)
        report = run.stop()
    require_no_failures(report)
    reported = [message for reason, message in judged.events() if reason == "AnalysisSuccessful"]
    assert reported, judged.explain()
    row: dict[str, Cell] = {
        "candidate": "good",
        "verdict": reported[-1],
        "its requests at the verdict": needed(reported[-1]),
    }
    RESULTS.add(TABLE, row | {"its answers in all": report.requests, "failed": report.failed})


@pytest.mark.nightly
def test_a_candidate_that_is_five_times_slower_is_withdrawn(stage: Stage, judged: Model) -> None:
    before = judged.stable
    judged.apply("usual")
    judged.until_settled(other_than=before)
    # Few at a time: what is compared shall be the work, not the waiting for a processor.
    WAYS_BACK_S.extend(taken_back(stage, judged, "late", rollout=BY_THE_MEDIAN, connections=2))
    median_s = sorted(WAYS_BACK_S)[len(WAYS_BACK_S) // 2]
    RESULTS.add(TABLE, {"candidate": f"median of {len(WAYS_BACK_S)}", "s to the stable": median_s})
