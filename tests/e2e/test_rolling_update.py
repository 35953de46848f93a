"""A RollingUpdate in batches under load: no request fails, forward and back, and both limits hold at every look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.e2e.asking import asked, next_version
from tests.e2e.counted import CONNECTIONS, count_by_revision, counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.ray_view import RAY_POLL_S
from tests.e2e.stage import LONG_RATE, Model, Stage, condition, is_settled
from tests.support import request_counts

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(30_000, daily=1_000)
REPLICAS = 3
ONE_MORE: dict[str, Any] = {"rollingUpdate": {"surge": 1, "unavailable": 0}}
ONE_LESS: dict[str, Any] = {"rollingUpdate": {"surge": 0, "unavailable": 1}}
TABLE = "A RollingUpdate in batches"


class Watched:
    """The replicas that Ray aims at and those that the gateway sees ready, at every look at the object."""

    def __init__(self, stage: Stage, model: Model) -> None:
        self._stage, self._model = stage, model
        self.most, self.least = 0, REPLICAS
        self.up_at_least: dict[str, int] = {}
        self._ray_due_s = 0.0

    def and_then(self, holds: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
        def look(found: dict[str, Any]) -> object:
            if time.monotonic() >= self._ray_due_s:
                self._look_at_ray()
            up = self._model.up_by_revision()
            if sum(up.values()) < self.least:
                self.least, self.up_at_least = sum(up.values()), up
            return holds(found)

        return look

    def _look_at_ray(self) -> None:
        """Less often than the gateway: what Ray aims at changes with the operator's writes alone."""
        applications = self._stage.ray.applications(self._model.name).values()
        targets = [each["target_num_replicas"] for a in applications for each in a["deployments"].values()]
        self.most = max(self.most, sum(targets))
        self._ray_due_s = time.monotonic() + RAY_POLL_S


def moves(found: dict[str, Any]) -> bool:
    """The second of the batches is under way."""
    rollout = found["status"].get("rollout") or {}
    return bool(rollout.get("phase") == "Shifting" and rollout["step"] == 1)


@pytest.fixture(scope="module")
def batches(stage: Stage) -> Iterator[Model]:
    """One model of three replicas that goes forward and back through all stories."""
    with stage.deployed("batches", replicas=REPLICAS, rollout=ONE_MORE) as model:
        model.until_up(REPLICAS)
        yield model


def same_version(model: Model) -> str:
    return "v1" if next_version(model) == "v2" else "v2"


def at_rest_at(revision: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: "rollout" not in found["status"] and found["status"]["stableRevision"] == revision


def test_batches_keep_to_their_limits_and_fail_no_request(stage: Stage, batches: Model) -> None:
    seen, before = Watched(stage, batches), batches.stable
    with counted(batches, rate=LONG_RATE) as run:
        batches.apply(next_version(batches), label="next", rollout=ONE_MORE)
        batches.until("in its second batch", seen.and_then(moves))
        kill_operator(stage.local)
        batches.until("settled", seen.and_then(lambda found: is_settled(found) and not at_rest_at(before)(found)))
        run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    _keep("surge 1, unavailable 0: promoted, operator killed in the second batch", report, seen)
    require_no_failures(report)
    assert (seen.most, seen.least) == (REPLICAS + 1, REPLICAS), seen.up_at_least


def test_a_rollback_moves_in_batches_within_their_limits(stage: Stage, batches: Model) -> None:
    before = batches.status()["previousStableRevision"]
    batches.apply(same_version(batches), label="next", rollout=ONE_LESS)
    batches.until("with the new limits", is_settled)
    batches.until_up(REPLICAS)
    seen = Watched(stage, batches)
    with counted(batches, rate=LONG_RATE) as run:
        asked(stage, "rollback", batches)
        batches.until("in its second batch", seen.and_then(moves))
        kill_operator(stage.local)
        batches.until("rolled back", seen.and_then(at_rest_at(before)))
        run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    _keep("surge 0, unavailable 1: rolled back, operator killed in the second batch", report, seen)
    require_no_failures(report)
    assert (seen.most, seen.least) == (REPLICAS, REPLICAS - 1), seen.up_at_least


@pytest.mark.nightly
def test_reverting_the_spec_during_a_rollout_fails_no_request(stage: Stage, batches: Model) -> None:
    batches.until_up(REPLICAS)
    seen, before = Watched(stage, batches), batches.stable
    with counted(batches, rate=LONG_RATE) as run:
        batches.apply("v2", label="there", rollout=ONE_MORE)
        batches.until("in its second batch", seen.and_then(moves))
        batches.apply("v1", rollout=ONE_MORE)
        batches.until("going back", seen.and_then(lambda found: "rollout" in found["status"] and _is_back(found)))
        kill_operator(stage.local)
        batches.until("settled", seen.and_then(is_settled))
        run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    assert batches.stable == before
    _keep("surge 1: the spec goes back in the second batch, operator killed", report, seen)
    require_no_failures(report)
    assert seen.least >= REPLICAS, seen.up_at_least
    assert seen.most == REPLICAS + 1


@pytest.mark.nightly
def test_an_abort_during_a_rollout_restores_replicas_before_traffic(stage: Stage, batches: Model) -> None:
    batches.until_up(REPLICAS)
    seen, before = Watched(stage, batches), batches.stable
    with counted(batches, rate=LONG_RATE) as run:
        batches.apply("v2", label="aborted", rollout=ONE_MORE)
        candidate = batches.until("in its second batch", seen.and_then(moves))["status"]["candidateRevision"]
        asked(stage, "abort", batches)
        kill_operator(stage.local)
        batches.until("withdrawn", seen.and_then(at_rest_at(before)))
        answered = count_by_revision(run, candidate)
        batches.until_up(REPLICAS)
        run.wait_until(lambda counts: counts.requests > REQUESTS, timeout_s=300)
        report = run.stop()
    _keep("surge 1: aborted in the second batch, operator killed", report, seen)
    require_no_failures(report)
    assert seen.least >= REPLICAS, seen.up_at_least
    assert report.revisions[candidate].count <= answered + CONNECTIONS
    assert condition(batches.read() or {}, "Ready")["reason"] == "Aborted"


def _is_back(found: dict[str, Any]) -> bool:
    return found["status"]["rollout"]["phase"] in ("Restoring", "Withdrawing")


def _keep(what: str, report: Any, seen: Watched) -> None:
    row = {"what": what, "requests": report.requests, "failed": report.failed}
    RESULTS.add(TABLE, {**row, "replicas wanted at the most": seen.most, "ready at the least": seen.least})
