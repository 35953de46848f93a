"""A canary under load: the split is exact, no request fails, and people drive it with `kubectl fairlead`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.asking import asked, fairlead, next_version
from tests.e2e.counted import CONNECTIONS, counted, no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_for_good, kill_operator
from tests.e2e.stage import Model, Stage, condition

from fairlead_cli import load
from fairlead_cli.plugin import commands

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
REQUESTS = 10_000
TABLE = "A canary under load"
STEPS: list[dict[str, Any]] = [{"setWeight": 1}, {"setWeight": 25}, {"pause": {}}, {"setWeight": 60}]


@pytest.fixture(scope="module")
def canary(stage: Stage) -> Iterator[Model]:
    with stage.deployed("canary") as model:
        yield model


def begin(model: Model, label: str, steps: list[dict[str, Any]] = STEPS) -> tuple[str, str]:
    """Another version, come to its pause at 25 %; the stable revision and the candidate."""
    model.until_settled()
    model.apply(next_version(model), label=label, rollout={"strategy": "Canary", "steps": steps})
    found = model.until("paused at 25 %", is_paused_at_25)
    return found["status"]["stableRevision"], found["status"]["candidateRevision"]


def is_paused_at_25(found: dict[str, Any]) -> bool:
    status = found.get("status") or {}
    return (
        status.get("phase") == "Paused"
        and status["rollout"]["weight"] == 25
        and status["observedGeneration"] == found["metadata"]["generation"]
    )


def keep(report: load.Report, what: str) -> None:
    RESULTS.add(TABLE, {"what": what, "requests": report.requests, "failed": report.failed, "requests/s": report.rate})


def test_25_percent_is_exact_and_a_promote_moves_the_rest(stage: Stage, canary: Model) -> None:
    stable, candidate = begin(canary, "split")
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
        split = run.stop()
    no_failures(split)
    off = split.revisions[candidate].count - split.requests / 4
    assert abs(off) <= 2 * CONNECTIONS, f"{off:+.1f} requests off of {split.requests}"
    keep(split, f"held at 25 %: {split.revisions[candidate].count:,} to the candidate, {off:+.1f}")
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.requests > 2000, timeout_s=120)
        asked(stage, "promote", canary)
        canary.until_settled(other_than=stable)
        answered = run.progress().revisions.get(stable, 0)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    no_failures(report)
    assert report.revisions[stable].count <= answered + CONNECTIONS, "the old revision answered after the promotion"
    keep(report, "promoted from 25 %")


def test_an_abort_takes_the_traffic_back_and_the_spec_is_not_tried_again(stage: Stage, canary: Model) -> None:
    stable, candidate = begin(canary, "abort")
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.revisions.get(candidate, 0) > 500, timeout_s=120)
        asked(stage, "abort", canary)
        canary.until("withdrawn", lambda found: "rollout" not in found["status"])
        answered = run.progress().revisions[candidate]
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    no_failures(report)
    keep(report, "aborted at 25 %")
    assert report.revisions[candidate].count <= answered + CONNECTIONS
    found = canary.read() or {}
    assert found["status"]["stableRevision"] == stable
    assert condition(found, "Ready")["reason"] == "Aborted"
    assert fairlead(stage, "promote", canary)[0] == 1, "there is no candidate to promote"
    asked(stage, "retry", canary)
    canary.until("paused at 25 % again", is_paused_at_25)
    asked(stage, "promote", canary, "--full")
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
    with counted(canary) as run:
        canary.apply(next_version(canary), label="killed", rollout={"strategy": "Canary", "steps": steps})
        canary.until("in its pause", lambda found: condition(found, "Progressing").get("reason") == "StepPaused")
        began = canary.status()["rollout"]["stepStartedAt"]
        kill_operator(stage.local)
        assert canary.status()["rollout"]["stepStartedAt"] == began, "the pause did not begin again"
        canary.until("paused at 50 %", lambda found: (found["status"].get("rollout") or {}).get("step") == 3)
        kill_operator(stage.local)
        asked(stage, "promote", canary)
        canary.until_settled(other_than=before)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    no_failures(report)
    keep(report, "operator killed at 25 % and at 50 %")
    handled = canary.status()["handledRequest"]
    assert (handled["verb"], handled["outcome"]) == ("Promote", "Done")


def test_nothing_takes_the_place_of_an_abort_that_waits(
    stage: Stage, canary: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ANSWER_WITHIN_S", 1.0)
    stable, candidate = begin(canary, "abort-wins")
    kill_for_good(stage.local, "operator")
    try:
        assert "stands and waits" in fairlead(stage, "promote", canary)[1]
        assert "stands and waits" in fairlead(stage, "abort", canary)[1]
        assert "still to be carried out" in fairlead(stage, "promote", canary, "--full")[1]
        request = {"id": "by-hand", "verb": "PromoteFull", "revision": candidate, "time": "2026-01-01T00:00:00Z"}
        patch = json.dumps({"status": {"request": request}})
        by_hand = ("patch", "mdep", canary.name, "--subresource=status", "--type=merge", "-p", patch)
        done = stage.kubectl_tried(*by_hand)
        assert done.returncode != 0
        assert "is an Abort that is still to be carried out" in done.stderr
    finally:
        stage.local.start("operator")
    found = canary.until("withdrawn", lambda found: "rollout" not in found["status"])
    assert found["status"]["stableRevision"] == stable


def test_a_rollback_by_number_holds_against_a_resync_until_a_retry(stage: Stage, canary: Model) -> None:
    canary.apply(next_version(canary), label="to-leave", rollout={"strategy": "Canary", "steps": [{"setWeight": 50}]})
    canary.until_settled()
    left = canary.stable
    with counted(canary) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=120)
        asked(stage, "rollback", canary)
        canary.until("gone back", lambda found: found["status"]["stableRevision"] != left)
        canary.until("at rest", lambda found: "rollout" not in found["status"])
        kill_operator(stage.local)
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    no_failures(report)
    keep(report, "rolled back by request")
    assert condition(canary.read() or {}, "Ready")["reason"] == "RolledBack"
    asked(stage, "retry", canary)
    canary.until_settled(other_than=canary.stable)
    assert canary.stable == left
