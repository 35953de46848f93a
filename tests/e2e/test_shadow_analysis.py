"""A candidate that nobody asks is taken back for what it would have said: by its shadow alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.counted import require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.stage import Model, Stage

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
DIFFERENT_ROWS = 300
RATE = 300.0
"""A verdict waits for so many copies, whatever their rate."""
ROLLOUT: dict[str, Any] = {
    "strategy": "Shadow",
    "shadow": {"percent": 10},
    "analysis": {
        "intervalSeconds": 1,
        "count": 600,
        "metrics": [{"name": "same-answers", "disagreement": {"maxPercent": 2}}],
    },
}


def settings(stage: Stage, model: Model) -> load.Settings:
    """Many different requests: two versions differ on few of them."""
    asking = model.load(rate=RATE)
    tensor = json.loads(asking.bodies[0])["inputs"][0]
    bodies = tuple(
        json.dumps({"inputs": [{**tensor, "data": row}]}).encode() for row in stage.models.inputs(DIFFERENT_ROWS)
    )
    return asking.model_copy(update={"bodies": bodies})


def test_a_candidate_with_different_answers_is_withdrawn_before_any_client_got_one(stage: Stage) -> None:
    with stage.deployed("shadow-judged") as model:
        stable = model.stable
        with load.background(settings(stage, model)) as run:
            run.wait_until(lambda seen: seen.requests > 200, timeout_s=400)
            model.apply("worse", rollout=ROLLOUT)
            found = model.until("given up", lambda seen: seen["status"].get("quarantine"))
            (given_up,) = found["status"]["quarantine"]
            model.until("withdrawn", lambda seen: "rollout" not in seen["status"])
            report = run.stop()

        require_no_failures(report)
        assert set(report.revisions) == {stable}
        assert model.stable == stable
        assert "same-answers" in given_up["message"], model.explain()
        row = {"what": given_up["message"], "requests": report.requests, "failed": report.failed}
        RESULTS.add("A candidate taken back by its shadow", row)
