"""Recreate under load: the old revision leaves first, and until the new one is ready, clients get 503 with Retry-After.

By definition there is a time in which nothing serves. What is shown is that it is all that is lost: each request of it
gets 503 with Retry-After at once, none is cut, reset or left without an answer, and before and after it none fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.asking import asked
from tests.e2e.counted import counted
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Model, Stage, condition
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
TABLE = "Recreate"
BEFORE = request_counts.at_least(2_000, daily=500)
AFTER = BEFORE + request_counts.at_least(8_000)
RATE = request_counts.rate(1_000.0)
WORDS = "has no stable revision yet"
RECREATE: dict[str, Any] = {"strategy": "Recreate"}
BIG: dict[str, Any] = {"resources": {"cpu": "5"}}
"""Of the 8 that the cluster has: two don't fit beside each other."""


@pytest.fixture(scope="module")
def recreated(stage: Stage) -> Iterator[Model]:
    with stage.deployed("recreated", serving=BIG, rollout=RECREATE) as model:
        yield model


def is_stopped(found: dict[str, Any]) -> bool:
    """Nothing is stable: the old revision is being removed."""
    status = found["status"]
    return "rollout" in status and not status.get("stableRevision")


def gets_retry_after(stage: Stage, body: bytes, model: Model) -> bool:
    headers = {"content-type": "application/json"}
    answer = stage.gateway.post(f"/v2/models/{model.name}/infer", content=body, headers=headers)
    return (answer.status_code, answer.headers.get("retry-after")) == (503, "2") and WORDS in answer.text


def finished(run: load.Background, model: Model, what: str, *, old: str) -> load.Report:
    """Requests go on until it is certain that nothing fails any more; the report, after all that holds of each."""
    new = model.stable
    seen = run.progress().revisions.get(new, 0)
    answered = run.wait_until(lambda now: now.revisions.get(new, 0) > seen + BEFORE, timeout_s=400)
    run.wait_until(lambda now: now.revisions.get(new, 0) > seen + AFTER, timeout_s=300)
    report = run.stop()
    others = [each for each in report.failures if each.status != 503 or WORDS not in each.body]
    assert others == [], report.summary()
    assert report.failed == answered.failed, "a request failed after the new revision served"
    gone_s = max(report.failures, key=lambda each: each.at_s).at_s - min(each.at_s for each in report.failures)
    row = {"what": what, "requests": report.requests, "right answers": report.ok, "503, Retry-After: 2": report.failed}
    RESULTS.add(TABLE, {**row, "other failures": len(others), "seconds without a revision": round(gone_s, 1)})
    if old != new:
        assert report.revisions[old].last_s < report.revisions[new].first_s, "both served at once"
    return report


def test_requests_between_two_revisions_get_retry_after_and_no_other_fails(stage: Stage, recreated: Model) -> None:
    old, body = recreated.stable, recreated.load().bodies[0]
    with counted(recreated, rate=RATE) as run:
        run.wait_until(lambda seen: seen.requests > BEFORE, timeout_s=400)
        recreated.apply("v2", label="next", serving=BIG, rollout=RECREATE)
        recreated.until("stopped", is_stopped)
        until(lambda: gets_retry_after(stage, body, recreated), "503 with Retry-After", deadline_s=400)
        kill_operator(stage.local)
        recreated.until_settled(other_than=old)
        report = finished(run, recreated, "rollout and promotion, operator killed between the two", old=old)
    assert set(report.revisions) == {old, recreated.stable}


@pytest.mark.nightly
def test_a_rollback_without_room_stops_the_other_revision_first(stage: Stage, recreated: Model) -> None:
    recreated.apply("v2", label="next", serving=BIG, rollout={"onInsufficientCapacity": "Recreate"})
    old = recreated.until_settled()["status"]["stableRevision"]
    with counted(recreated, rate=RATE) as run:
        run.wait_until(lambda seen: seen.requests > BEFORE, timeout_s=400)
        asked(stage, "rollback", recreated)
        recreated.until("stopped", is_stopped)
        kill_operator(stage.local)
        recreated.until("back", lambda found: found["status"].get("stableRevision") not in (None, "", old))
        recreated.until("at rest", lambda found: "rollout" not in found["status"])
        finished(run, recreated, "RollingUpdate without room, `onInsufficientCapacity: Recreate`, rollback", old=old)
    messages = [message for reason, message in recreated.events() if reason == "InsufficientCapacity"]
    assert any("The rollout stops" in message for message in messages), recreated.events()


@pytest.mark.nightly
def test_an_abort_starts_the_stopped_revision_again(stage: Stage, recreated: Model) -> None:
    old = recreated.stable
    with counted(recreated, rate=RATE) as run:
        run.wait_until(lambda seen: seen.requests > BEFORE, timeout_s=400)
        recreated.apply("v2", label="aborted", serving=BIG, rollout=RECREATE)
        recreated.until("started", lambda found: is_stopped(found) and found["status"].get("candidateRevision"))
        asked(stage, "abort", recreated)
        kill_operator(stage.local)
        recreated.until("back", lambda found: found["status"].get("stableRevision") == old)
        recreated.until("at rest", lambda found: "rollout" not in found["status"])
        report = finished(run, recreated, "aborted while the candidate starts, operator killed", old=old)
    assert set(report.revisions) == {old}
    assert condition(recreated.read() or {}, "Ready")["reason"] == "Aborted"
