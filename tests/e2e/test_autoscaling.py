"""A model follows its load, also without the operator and in the middle of a canary, and no request fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.e2e.asking import asked, fairlead
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_for_good, start_operator
from tests.e2e.ray_view import RAY_POLL_S
from tests.e2e.stage import Model, Stage
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
MOST = 3
SCALING = {
    "minReplicas": 1,
    "maxReplicas": MOST,
    "target": {"ongoingRequests": 4},
    "scaleDown": {"stabilizationSeconds": 8},
}
# Each request waits for others to share its call: a load of many requests in hand that takes little processor.
SERVING = {"batching": {"maxDelayMilliseconds": 150}}
CANARY = {"strategy": "Canary", "steps": [{"setWeight": 50}, {"pause": {}}]}


@contextmanager
def busy(model: Model) -> Iterator[load.Background]:
    """Twenty requests in hand: more than the maximum of replicas is meant for."""
    with load.background(model.load(connections=20, rate=None).model_copy(update={"id_prefix": "busy"})) as run:
        yield run
        require_no_failures(report := run.stop())
        COUNTED.append(report)


COUNTED: list[load.Report] = []


def until_scaled(model: Model, count: int) -> None:
    model.until(
        f"{count} replicas as its load asks",
        lambda found: found["status"].get("scaling", {}).get("replicas") == count,
        deadline_s=400,
    )
    model.until_up(count)


def until_run(stage: Stage, count: int) -> None:
    """So many replicas run, whatever the operator says, as it may be away."""
    until(
        lambda: len(stage.ray.replica_pids("elastic")) == count,
        f"{count} without the operator",
        deadline_s=400,
        poll_s=RAY_POLL_S,
    )


def test_replicas_follow_the_load_without_the_operator_and_in_a_canary(stage: Stage) -> None:
    COUNTED.clear()
    with (
        stage.deployed("elastic", label="v1", scaling=SCALING, serving=SERVING) as model,
        counted(model, connections=1, rate=20.0) as quiet,
    ):
        assert model.status()["scaling"]["message"] == "1 replica; the load decides between 1 and 3."
        first = stage.ray.replica_pids("elastic")
        with busy(model):
            until_scaled(model, MOST)
            assert set(first) < set(stage.ray.replica_pids("elastic"))
            assert "3 replicas, which is the maximum." in fairlead(stage, "status", model)[1]
            kill_for_good(stage.local, "operator")
        until_run(stage, 1)
        with busy(model):
            until_run(stage, MOST)
            start_operator(stage.local)
            until_scaled(model, MOST)
            _roll_out(stage, model)
        until_scaled(model, 1)
        model.until_settled()
        require_no_failures(report := quiet.stop())
        COUNTED.append(report)
    requests = sum(report.requests for report in COUNTED)
    RESULTS.add("Automatic scaling", {"what": "1 → 3 → 1 → 3 → canary → 1", "requests": requests, "failed": 0})


def _roll_out(stage: Stage, model: Model) -> None:
    """A canary while the model is scaled: the candidate has its share, and the stable revision keeps its own."""
    stable, before = model.stable, stage.ray.replica_pids("elastic")
    model.apply("v2", label="v2", scaling=SCALING, serving=SERVING, rollout=CANARY)
    found = model.until("paused at 50 %", lambda now: now["status"].get("phase") == "Paused", deadline_s=400)
    rollout = found["status"]["rollout"]
    assert (rollout["scaledReplicas"], rollout["candidateReplicas"], rollout["weight"]) == (MOST, 2, 50)
    assert set(before) <= set(stage.ray.replica_pids("elastic"))
    assert model.up_by_revision()[found["status"]["candidateRevision"]] >= 2
    asked(stage, "promote", model)
    model.until_settled(other_than=stable)
    until_scaled(model, MOST)
