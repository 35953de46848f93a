"""Small real models compared in processes of their own: the figures, the recommendation, and refusals."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from fairlead_cli import main
from fairlead_cli.comparison.candidate import Request
from fairlead_cli.comparison.processes import CandidateProcess
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.config import EngineMode
from fairlead_runtime.model import digest

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
RUNNER = CliRunner()
ROWS = np.eye(3, dtype=np.float32).repeat(20, axis=0)
LABELS = np.arange(3).repeat(20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """`right` predicts each row of `data.npz` right, `constant` gives the first class; `wide` takes four columns."""
    root = tmp_path_factory.mktemp("compared")
    inputs = keras.Input((3,), name="x")
    keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="identity")(inputs)).export(
        root / "right", verbose=False
    )
    zeros = keras.layers.Dense(3, "softmax", kernel_initializer="zeros")
    keras.Model(inputs, zeros(inputs)).save(root / "constant.keras")
    four = keras.Input((4,), name="x")
    keras.Model(four, keras.layers.Dense(3, "softmax")(four)).export(root / "wide", verbose=False)
    np.savez(root / "data.npz", x=ROWS, labels=LABELS)
    np.savez(root / "labels.npz", x=ROWS, labels=LABELS + 1)
    (root / "text.npz").write_text("no data")
    return root


def compare(*arguments: object) -> Any:
    return RUNNER.invoke(main.app, ["compare", *map(str, arguments)])


def refuse(*arguments: object) -> str:
    result = compare(*arguments)
    assert result.exit_code == 1, result.output
    return " ".join(result.stderr.partition("error: ")[2].split())


def test_the_better_model_is_recommended_with_its_figures(made: pathlib.Path) -> None:
    right, constant = made / "right", made / "constant.keras"
    result = compare(constant, right, "--data", made / "data.npz", "--rounds", 6, "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["data"] == {"name": "data.npz", "digest": digest.hash_path(made / "data.npz")}
    first, second = found["candidates"]
    assert (first["name"], second["name"]) == (str(constant), str(right))
    assert (first["correct"], second["correct"], second["samples"]) == (20, 60, 60)
    assert second["interval"]["low"] == pytest.approx(0.9398, abs=1e-4)
    assert second["modelDigest"] == digest.hash_path(right)
    assert first["sizeBytes"] == constant.stat().st_size
    assert second["sizeBytes"] == sum(path.stat().st_size for path in right.rglob("*") if path.is_file())
    for each in found["candidates"]:
        assert (each["engine"], each["violations"]) == ("TensorFlow", [])
        assert 0 < each["pssBytes"] <= each["memoryBytes"]
        assert each["loadSeconds"] > 0
        assert [latency["rows"] for latency in each["latency"]] == [1, 32]
        for latency in each["latency"]:
            p50, p99 = latency["p50Seconds"], latency["p99Seconds"]
            assert 0 < p50["least"] <= p50["median"] <= p50["most"]
            assert p50["median"] <= p99["median"]
            assert latency["calls"] >= 6 * 5
    recommended = found["recommendation"]
    assert recommended["name"] == str(right)
    assert recommended["reason"] == "it has the highest accuracy (1.0000), beyond chance"
    accuracy = recommended["comparisons"][0]["accuracy"]
    assert (accuracy["recommendedBetter"], accuracy["otherBetter"], accuracy["differs"]) == (40, 0, True)


@pytest.mark.nightly
def test_where_no_candidate_keeps_the_constraints_each_reason_is_given(made: pathlib.Path) -> None:
    options = ("--data", made / "data.npz", "--rounds", 6, "--min", "0.99", "--engine", "ONNXRuntime")
    result = compare(made / "right", made / "constant.keras", *options)
    assert result.exit_code == 1
    assert "Recommended" not in result.stdout
    rows = {line[:22].strip(): line[22:].split() for line in result.stdout.splitlines()}
    assert rows["engine"] == ["ONNXRuntime", "ONNXRuntime"]
    assert rows["keeps the constraints"] == ["no", "no"]
    assert "error: no candidate keeps the constraints:" in result.stderr
    assert f"{made / 'right'}: the lower bound of its accuracy is 0.9398, below 0.99" in result.stderr
    assert f"{made / 'constant.keras'}: the lower bound of its accuracy is 0.2273, below 0.99" in result.stderr


def test_a_path_that_is_no_model_is_named(made: pathlib.Path) -> None:
    found = refuse(made / "right", made / "nothing", "--data", made / "data.npz")
    assert found == f"{made / 'nothing'}: there is no such model; name a SavedModel's folder or a .keras file"
    found = refuse(made / "right", made / "text.npz", "--data", made / "data.npz")
    assert found.startswith(f"{made / 'text.npz'}: the file is neither a .keras file nor an archive")


def test_columns_that_a_model_does_not_take_are_named_with_the_candidate(made: pathlib.Path) -> None:
    found = refuse(made / "wide", made / "right", "--data", made / "data.npz")
    assert found.startswith(
        f"{made / 'wide'}: {made / 'data.npz'}: 'x' is float32 of the shape [60, 3]; the model takes"
    )
    assert "[-1, 4]" in found


def test_labels_beyond_the_classes_of_a_model_are_refused(made: pathlib.Path) -> None:
    found = refuse(made / "right", made / "constant.keras", "--data", made / "labels.npz")
    assert found == (
        f"{made / 'right'}: {made / 'labels.npz'}: 'labels' holds 3, but the model has 3 classes: "
        "its labels must be from 0 to 2"
    )


@pytest.mark.parametrize(
    ("models", "options", "why"),
    [
        (("right",), (), "1 candidates are given; name from 2 to 8 models"),
        (("right", "right/../right"), (), "is the same model as"),
        (("right", "wide"), ("--rounds", "5"), "--rounds must be at least 6"),
        (
            ("right", "wide"),
            ("--data", "missing.npz"),
            "missing.npz: there is no such file; --data must be a .npz file",
        ),
    ],
)
def test_what_can_be_known_before_a_start_is_refused_before_it(
    made: pathlib.Path, models: tuple[str, ...], options: tuple[str, ...], why: str
) -> None:
    result = compare(*(made / each for each in models), "--data", made / "data.npz", *options)
    assert result.exit_code == 1
    assert why in result.stderr
    assert "evaluating" not in result.stderr


def test_a_limit_of_memory_is_a_quantity(made: pathlib.Path) -> None:
    result = compare(made / "right", made / "wide", "--data", made / "data.npz", "--max-memory", "much")
    assert result.exit_code == 2
    assert "is no quantity of memory" in result.stderr


def test_a_process_without_memory_is_an_error_of_its_candidate(made: pathlib.Path) -> None:
    found = refuse(made / "right", made / "wide", "--data", made / "data.npz", "--memory-limit", "16Mi")
    assert found.startswith(f"{made / 'right'}: ")


def test_a_step_that_takes_too_long_ends_with_its_process(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    request = Request(
        model=made / "right",
        signature=None,
        engine=EngineMode.TENSORFLOW,
        threads=1,
        data=made / "data.npz",
        folder=tmp_path,
        cache=tmp_path / "cache",
        memory_bytes=2**33,
        is_evaluation=True,
        parent=os.getpid(),
    )
    process = CandidateProcess("right", request, seconds=0.001)
    with process, pytest.raises(EvaluationError, match=r"right: a step took longer than 0\.001 s \(--timeout\)"):
        process.read()
    assert process.code is not None
