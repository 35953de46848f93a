"""A version serves only with a good evaluation record of itself, once one is required."""

from __future__ import annotations

import functools
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest
from examples import digest
from tests.e2e.asking import fairlead
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.stage import Stage, condition
from tests.support import request_counts

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(5_000)
REQUIRED = {"metric": "Accuracy", "min": 0.8}


def evaluated(version: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """A folder of the version's model and its evaluation record, made by the command."""
    shutil.copytree(version / "saved_model", out / "saved_model")
    command = "from fairlead_cli.main import app; app()"
    arguments = ["evaluate", str(out / "saved_model"), str(version / "heldout.npz")]
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def _is_refused(found: dict[str, Any], *, why: str) -> bool:
    message = condition(found, "Stalled").get("message", "")
    return "EvaluationNotMet" in message and why in message


def test_a_version_without_a_good_record_of_itself_is_refused_and_the_stable_one_serves(
    stage: Stage, tmp_path: pathlib.Path
) -> None:
    good = evaluated(stage.models.version("v2").folder, tmp_path / "good")
    worse = evaluated(stage.models.version("worse").folder, tmp_path / "worse")
    foreign = shutil.copytree(worse, tmp_path / "foreign")
    shutil.copy(good / "evaluation.json", foreign / "evaluation.json")
    with stage.deployed("evaluated") as model:
        stable = model.stable
        with counted(model) as run:
            # v1 is served by its SavedModel's folder alone, which holds no record.
            for label, folder, why in (
                ("foreign", foreign, "evaluation.json is of a model with the digest"),
                ("worse", worse, "its evaluation record has Accuracy"),
            ):
                source = {"uri": folder.as_uri(), "digest": digest.hash_path(folder)}
                model.apply("v1", label=label, model=source, rollout={"requireEvaluation": {**REQUIRED, "min": 0.9}})
                found = model.until(label, functools.partial(_is_refused, why=why))
                assert condition(found, "Stalled")["reason"] == "RolloutFailed"
                assert found["status"]["stableRevision"] == stable
            run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
            report = run.stop()
        require_no_failures(report)
        assert set(report.revisions) == {stable}
        RESULTS.add(
            "Candidates without a good evaluation record of themselves",
            {"requests": report.requests, "failed": report.failed},
        )
        source = {"uri": good.as_uri(), "digest": digest.hash_path(good)}
        model.apply("v1", label="good", model=source, rollout={"requireEvaluation": REQUIRED})
        model.until_settled(other_than=stable)
        assert "evaluation: Accuracy 0." in fairlead(stage, "status", model)[1]
