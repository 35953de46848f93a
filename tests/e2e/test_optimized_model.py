"""A model with spec.optimization serves a variant, or the float model where every variant breaks a bound."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from tests.e2e.asking import fairlead
from tests.e2e.stage import Model, Stage
from tests.e2e.trained import Version

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
ROWS = 32
# Made the same on any processor: both variants are smaller by far, and change scores by more than the least bound.
VARIANTS = ("WeightClustering64", "WeightClustering16")
WIDE: dict[str, Any] = {
    "techniques": ["WeightClustering"],
    "optimizeFor": "Size",
    "accuracyFloor": {"maxDrop": 0.5},
    "maxScoreChange": 1,
}
NARROW = {**WIDE, "maxScoreChange": 0.0001}


@pytest.fixture(scope="module")
def spec(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """ONNX Runtime serves a model from an archive with samples."""
    model = packaged(stage.models.version("v1"), tmp_path_factory.mktemp("optimized"))
    return {"model": model, "serving": {"engine": "ONNXRuntime"}}


@pytest.fixture(scope="module")
def optimized(stage: Stage, spec: dict[str, Any]) -> Iterator[Model]:
    """Ready with bounds that each variant keeps."""
    with stage.deployed("optimized", label="wide", optimization=WIDE, **spec) as model:
        yield model


def packaged(version: Version, folder: pathlib.Path) -> dict[str, str]:
    """`spec.model` of the manifest that `fairlead package --samples` prints."""
    arguments = ["package", str(version.folder / "saved_model"), str(version.folder / "heldout.npz")]
    options = ["--name", "optimized", "--samples", "360", "--out", str(folder / "optimized.tar.gz")]
    command = [sys.executable, "-c", "from fairlead_cli.main import app; app()", *arguments, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout)["spec"]["model"])


def _served(stage: Stage, model: Model) -> dict[str, str]:
    """The variant of the stable revision's row, which the replica's header and `kubectl fairlead status` name too."""
    status = model.status()
    row = next(each for each in status["revisions"] if each["name"] == status["stableRevision"])
    variant = dict(row["variant"])
    headers = stage.gateway.get(f"/v2/models/{model.name}").raise_for_status().headers
    assert headers["x-fairlead-variant"] == variant["name"]
    assert headers["x-fairlead-engine"] == "ONNXRuntime"
    assert f"variant: {variant['name']} ({variant['reason']})" in fairlead(stage, "status", model)[1]
    return variant


def _change(stage: Stage, model: Model) -> float:
    """The largest difference of the stable revision's answers to those of TensorFlow."""
    answer = model.infer(stage.models.inputs(ROWS)).raise_for_status()
    assert answer.headers["x-fairlead-revision"] == model.stable
    expected = np.array(stage.models.version("v1").outputs(ROWS))
    found = np.array(answer.json()["outputs"][0]["data"]).reshape(expected.shape)
    return float(np.abs(found - expected).max())


def test_the_best_variant_within_the_bounds_serves(stage: Stage, optimized: Model) -> None:
    variant = _served(stage, optimized)
    assert variant["reason"] == "Best"
    assert variant["name"] in VARIANTS
    sentence = r"\d+ bytes, float \d+ bytes; accuracy .*, 240 samples\), float .*; scores change by at most 0\.\d{3}"
    assert re.match(f"{variant['name']} has {sentence}", variant["message"]), variant
    assert NARROW["maxScoreChange"] < _change(stage, optimized)


@pytest.mark.nightly
def test_the_float_model_serves_after_a_rollout_whose_variants_all_break_a_bound(
    stage: Stage, optimized: Model, spec: dict[str, Any]
) -> None:
    before = optimized.stable
    optimized.apply(label="narrow", optimization=NARROW, **spec)
    optimized.until_settled(other_than=before)
    variant = _served(stage, optimized)
    assert (variant["name"], variant["reason"]) == ("Float", "Refused")
    refused = [rf"{name}: a score changes by 0\.\d{{3}}, more than maxScoreChange 0\.0001" for name in VARIANTS]
    assert re.fullmatch(f"the float model serves, as {'; '.join(refused)}", variant["message"]), variant
    assert _change(stage, optimized) < NARROW["maxScoreChange"]
