"""`kubectl scale` under load, and a deletion that Ray keeps waiting."""

from __future__ import annotations

from typing import Any

import pytest
from tests.e2e import stage as staging
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import pause_ray
from tests.e2e.stage import Stage
from tests.support import request_counts
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
BETWEEN = request_counts.at_least(1_000, daily=300)
"""Two changes, and before the first and after the last."""


def test_scaling_to_three_and_back_fails_no_request(stage: Stage) -> None:
    with stage.deployed("scaled") as model, counted(model) as run:
        run.wait_until(lambda seen: seen.requests > BETWEEN, timeout_s=400)
        model.scale(3)
        model.until_up(3)
        model.until(
            "Ready with three", lambda found: staging.is_settled(found) and found["status"]["readyReplicas"] == 3
        )
        assert stage.kubectl("get", "mdep", "scaled", "-o", "jsonpath={.status.replicas}") == "3"
        answered = run.progress().requests
        run.wait_until(lambda seen: seen.requests > answered + BETWEEN, timeout_s=400)
        model.scale(1)
        model.until_up(1)
        model.until("Ready with one", lambda found: staging.is_settled(found) and found["status"]["replicas"] == 1)
        until(lambda: len(stage.ray.replica_pids("scaled")) == 1, "one replica on Ray")
        answered = run.progress().requests
        run.wait_until(lambda seen: seen.requests > answered + BETWEEN, timeout_s=400)
        report = run.stop()
    RESULTS.add("Scaling", {"what": "1 → 3 → 1 replicas", "requests": report.requests, "failed": report.failed})
    require_no_failures(report)
    assert len(report.revisions) == 1


def test_a_deletion_reports_that_it_waits_for_ray_and_ends_when_ray_returns(stage: Stage) -> None:
    with stage.deployed("kept") as model:
        with pause_ray(stage.local):
            stage.kubectl("delete", "mdep", "kept", "--wait=false")
            waiting = model.until("waits for Ray", _waits_for_ray)
            assert waiting["metadata"]["finalizers"] == ["fairlead.dev/serving"]
            # No request comes any more, although the replicas still run.
            until(lambda: stage.gateway.get("/v2/models/kept").status_code == 404, "the gateway forgets it")
        model.until_gone()


def _waits_for_ray(found: dict[str, Any]) -> bool:
    ready = staging.condition(found, "Ready")
    return ready.get("reason") == "RayUnreachable" and "Ray" in ready.get("message", "")
