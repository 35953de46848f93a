"""`kubectl fairlead predict` and `logs` on real parts, while a canary of few replicas runs under load."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.asking import asked, fairlead, next_version
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Stage
from tests.support import request_counts

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REPLICAS = 2
REQUESTS = request_counts.at_least(30_000, daily=1_000)
STEPS: list[dict[str, Any]] = [{"setReplicas": 1}, {"setWeight": 10}, {"pause": {}}]


def test_a_canary_of_few_replicas_is_asked_read_and_promoted_to_all_of_them(stage: Stage) -> None:
    with stage.deployed("few", replicas=REPLICAS) as model:
        model.until_up(REPLICAS)
        stable = model.stable
        with counted(model) as run:
            model.apply(next_version(model), label="few", rollout={"strategy": "Canary", "steps": STEPS})
            found = model.until("paused at 10 %", lambda found: found["status"].get("phase") == "Paused")
            candidate = found["status"]["candidateRevision"]
            wanted = {row["name"]: row["wantedReplicas"] for row in found["status"]["revisions"]}
            assert wanted == {stable: REPLICAS, candidate: 1}
            _ask_and_read(stage, model, candidate)
            asked(stage, "promote", model)
            kill_operator(stage.local)
            model.until_settled(other_than=stable)
            model.until_up(REPLICAS)
            run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
            report = run.stop()
    require_no_failures(report)
    RESULTS.add(
        "A canary of one replica beside two",
        {"what": "promoted, operator killed", "requests": report.requests, "failed": report.failed},
    )


def _ask_and_read(stage: Stage, model: Any, candidate: str) -> None:
    code, output = fairlead(stage, "predict", model, "--revision", candidate)
    assert code == 0, output
    assert f"answered by revision 2 ({candidate})" in output
    answer = json.loads(output[output.index("{") :])
    assert [len(each["data"]) for each in answer["outputs"]] == [10]
    ray = ("--ray", stage.local.ray_address, "--ray-token-file", str(stage.local.ray_token_file))
    code, output = fairlead(stage, "logs", model, *ray)
    assert code == 0, output
    headings = [line for line in output.splitlines() if line.startswith("==> ")]
    assert len(headings) == REPLICAS + 1
    assert "replica" in output
