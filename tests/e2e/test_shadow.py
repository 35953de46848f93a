"""A candidate in the shadow: what it would have said differently is seen by counts alone, and no caller notices it."""

from __future__ import annotations

import collections
import pathlib
from typing import Any

import numpy as np
import pytest
from examples import digest
from tests.e2e import swapped
from tests.e2e.asking import asked, fairlead
from tests.e2e.counted import CONNECTIONS, count_by_revision, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Model, Stage
from tests.e2e.test_rollback_window import is_watched
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(30_000, daily=2_000)
BEFORE = request_counts.at_least(5_000, daily=1_000)
"""A fifth of them are copied, and more than 100 copies are compared."""
PACED = request_counts.at_least(1_000)
PERCENT = 20
TABLE = "A candidate in the shadow, 20 % of the requests copied"
SHADOW = {"strategy": "Shadow", "shadow": {"percent": PERCENT}}
ROWS = 16
ALONE = {"batching": {"mode": "Off"}}
"""Requests that share a call get the same numbers but for their last digits, and these stories compare bytes."""


def start_shadow(model: Model, /, *, warm_s: int = 0, **changes: Any) -> str:
    """Another revision, come to its pause without traffic; its name."""
    window = {"rollbackWindow": {"seconds": warm_s}} if warm_s else {}
    model.apply("v1", rollout={**SHADOW, **window}, serving=ALONE, **changes)
    found = model.until("in the shadow", is_shadowed)
    return str(found["status"]["candidateRevision"])


def is_shadowed(found: dict[str, Any]) -> bool:
    status = found.get("status") or {}
    return status.get("phase") == "Paused" and status["observedGeneration"] == found["metadata"]["generation"]


def settings(stage: Stage, model: Model) -> load.Settings:
    """Requests that know each byte of their answers: what the stable revision says when it is asked alone."""
    asking = model.load(rate=None)
    path = f"/v2/models/{model.name}/infer"
    json_ = {"content-type": "application/json"}
    answers = tuple(
        stage.gateway.post(path, content=body, headers=json_).raise_for_status().content for body in asking.bodies
    )
    return asking.model_copy(update={"expect_answers": answers})


def pairs(stage: Stage, model: Model, candidate: str) -> dict[str, int]:
    answer = stage.admin.get(f"/v1/measurements/{model.name}").raise_for_status()
    return dict(answer.json()["revisions"].get(candidate, {}).get("shadow", {}))


def copies(counts: dict[str, int]) -> int:
    return counts["pairs"] + counts["failed"] + counts["dropped"]


def classes(stage: Stage) -> list[int]:
    """What the first version says to each of the requests."""
    return [int(np.argmax(row)) for row in stage.models.version("v1").outputs(ROWS)]


def keep(what: str, report: load.Report, counts: dict[str, int]) -> None:
    latency = report.latency
    assert latency is not None
    row = {"what": what, "requests": report.requests, "failed": report.failed, "p50 ms": latency.p50_ms}
    RESULTS.add(TABLE, {**row, "p99 ms": latency.p99_ms, **counts})


def paced(stage: Stage, model: Model, what: str) -> None:
    """What a caller waits where the machine has time left: at full speed each copy takes it from somebody."""
    with load.background(settings(stage, model).model_copy(update={"rate_limit": 100.0})) as run:
        run.wait_until(lambda seen: seen.requests >= PACED, timeout_s=400)
        report = run.stop()
    require_no_failures(report)
    keep(what, report, {})


def test_a_candidate_with_different_answers_is_noticed_in_the_counts_and_by_no_client(
    stage: Stage, tmp_path: pathlib.Path
) -> None:
    output = classes(stage)
    (first, _), (second, _) = collections.Counter(output).most_common(2)
    swapped_share = sum(each in (first, second) for each in output) / len(output)
    source = pathlib.Path(stage.models.version("v1").uri.removeprefix("file://"))
    other = swapped.make(source, tmp_path / "swapped", first, second)
    with stage.deployed("shadowed", serving=ALONE) as model:
        stable, asking = model.stable, settings(stage, model)
        with load.background(asking) as run:
            run.wait_until(lambda seen: seen.requests >= BEFORE, timeout_s=300)
            before = run.stop()
        require_no_failures(before)
        keep("before there is a candidate", before, {})
        paced(stage, model, "before there is a candidate, paced")

        candidate = start_shadow(
            model, label="swapped", model={"uri": other.as_uri(), "digest": digest.hash_path(other)}
        )
        with load.background(asking) as run:
            run.wait_until(lambda seen: seen.requests >= REQUESTS // 3, timeout_s=300)
            kill_operator(stage.local)
            run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
            report = run.stop()
        require_no_failures(report)
        assert set(report.revisions) == {stable}

        marked = report.requests * PERCENT / 100
        until(
            lambda: (
                abs(sum(pairs(stage, model, candidate)[each] for each in ("pairs", "failed", "dropped")) - marked) <= 2
            ),
            "each copy is accounted for",
            deadline_s=400,
            explain=lambda: f"{marked} marked, {pairs(stage, model, candidate)}",
        )
        paced(stage, model, "beside the shadow, paced")
        counts = pairs(stage, model, candidate)
        keep("a candidate that takes two classes for each other", report, counts)
        assert counts["failed"] == 0
        assert counts["pairs"] > 100
        assert abs(counts["disagreed"] / counts["pairs"] - swapped_share) < 0.1
        status = fairlead(stage, "status", model)[1]
        assert f"the candidate gets copies of {PERCENT} % of the stable revision's requests" in status

        with load.background(asking) as run:
            run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
            asked(stage, "abort", model)
            model.until("withdrawn", lambda found: "rollout" not in found["status"])
            left = run.stop()
        require_no_failures(left)
        assert set(left.revisions) == {stable}


@pytest.mark.nightly
def test_a_candidate_with_equal_answers_is_promoted_from_the_shadow_and_can_be_rolled_back(
    stage: Stage,
) -> None:
    with stage.deployed("same", serving=ALONE) as model:
        stable = model.stable
        candidate = start_shadow(model, label="same-again", warm_s=600)
        with load.background(model.load()) as run:
            run.wait_until(lambda seen: seen.requests >= BEFORE, timeout_s=300)
            asked(stage, "promote", model)
            model.until("promoted and watched", is_watched)
            moved = run.progress().revisions.get(candidate, 0)
            run.wait_until(lambda seen: seen.revisions.get(candidate, 0) > moved + BEFORE, timeout_s=300)
            counts = pairs(stage, model, candidate)
            assert not {"shadow", "match"} & set(stage.api.routes()[model.name])
            assert model.stable == candidate

            asked(stage, "rollback", model)
            kill_operator(stage.local)
            model.until("rolled back", lambda found: found["status"]["stableRevision"] == stable)
            model.until("at rest", lambda found: "rollout" not in found["status"])
            answered = count_by_revision(run, candidate)
            run.wait_until(lambda seen: seen.requests >= seen.revisions.get(candidate, 0) + 2 * BEFORE, timeout_s=300)
            report = run.stop()

        require_no_failures(report)
        keep("the same model again: promoted, rolled back by request, operator killed", report, counts)
        assert report.revisions[candidate].count <= answered + CONNECTIONS
        assert counts["pairs"] > 100
        assert counts["disagreed"] == 0
