"""A model in two stages as a user deploys it: the answers of the whole, a killed stage, and a rollout that ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from tests.e2e.asking import fairlead
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.stage import Model, Stage
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
IN_TWO: dict[str, Any] = {"parallelism": {"stages": 2}}
ROWS = 16
REQUESTS = 400
RATE = 100.0


@pytest.fixture(scope="module")
def staged(stage: Stage) -> Iterator[Model]:
    with stage.deployed("staged", label="in-two", optimization=IN_TWO) as model:
        yield model


def processes(stage: Stage, model: Model) -> Mapping[str, int]:
    """The process of each stage of the stable revision."""
    (application,) = stage.ray.applications(model.name).values()
    deployments = application["deployments"]
    return {
        name: int(replica["pid"])
        for name, each in deployments.items()
        for replica in each["replicas"]
        if replica["state"] == "RUNNING" and replica.get("pid")
    }


def row_of(model: Model) -> Mapping[str, Any]:
    status = model.status()
    return next(each for each in status["revisions"] if each["name"] == status["stableRevision"])


def test_both_stages_answer_as_the_whole_model_and_the_status_counts_them(stage: Stage, staged: Model) -> None:
    answer = staged.infer(stage.models.inputs(ROWS)).raise_for_status()
    expected = np.array(stage.models.version("v1").outputs(ROWS))
    found = np.array(answer.json()["outputs"][0]["data"]).reshape(expected.shape)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert sorted(processes(stage, staged)) == ["replica", "stage-2"]
    row = row_of(staged)
    assert (row["stages"], row["wantedReplicas"], row["readyReplicas"]) == (2, 1, 1)
    assert "stages: 2, each in a replica of its own" in fairlead(stage, "status", staged)[1]


@pytest.mark.nightly
def test_a_killed_stage_costs_only_refusals_that_say_when_to_come_again(stage: Stage, staged: Model) -> None:
    before = processes(stage, staged)
    with counted(staged, rate=RATE) as run:
        run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=400)
        os.kill(before["stage-2"], signal.SIGKILL)
        until(
            lambda: (now := processes(stage, staged)).keys() == before.keys() and now["stage-2"] != before["stage-2"],
            "another second stage",
            deadline_s=300,
            explain=staged.explain,
        )
        staged.until_up(1)
        seen = run.progress().requests
        run.wait_until(lambda now: now.requests > seen + REQUESTS, timeout_s=400)
        report = run.stop()
    assert processes(stage, staged)["replica"] == before["replica"], "the first stage goes on"
    assert report.requests > report.failed
    assert {(each.kind.value, each.status) for each in report.failures} <= {("status", 503)}, report.summary()
    RESULTS.add(
        "A model in two stages, the second one killed by SIGKILL",
        {"requests": report.requests, "503": report.failed, "other failures": 0},
    )


def test_no_request_is_lost_by_a_rollout_from_stages_to_one_replica_and_back(stage: Stage, staged: Model) -> None:
    with counted(staged, rate=RATE) as run:
        for label, changes in (("whole", {}), ("again-in-two", {"optimization": IN_TWO})):
            before = staged.stable
            staged.apply(label=label, **changes)
            staged.until_settled(other_than=before)
            seen = run.progress().requests
            run.wait_until(lambda now, seen=seen: now.requests > seen + REQUESTS, timeout_s=400)
        report = run.stop()
    require_no_failures(report)
    assert row_of(staged)["stages"] == 2
    RESULTS.add(
        "A rollout from two stages to one replica, and back", {"requests": report.requests, "failed": report.failed}
    )
