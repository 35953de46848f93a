"""`fairlead tune` with a small real model: replicas in processes of their own, figures, patch, picture, refusals."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import keras
import pytest
from typer.testing import CliRunner

from fairlead_cli import main

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
RUNNER = CliRunner()
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model of three inputs, a request that it answers, and one that it refuses."""
    root = tmp_path_factory.mktemp("tuned")
    inputs = keras.Input((3,), name="x")
    keras.Model(inputs, keras.layers.Dense(3, "softmax")(inputs)).export(root / "model", verbose=False)
    (root / "request.json").write_text(json.dumps(BODY))
    (root / "v1.json").write_text(json.dumps({"instances": [[1.0, 2.0, 3.0]]}))
    (root / "wrong.json").write_text(json.dumps({"instances": [[1.0]]}))
    (root / "nothing.json").write_text("{}")
    (root / "text.json").write_text("no JSON")
    return root


def tune(made: pathlib.Path, *arguments: object, request: str = "request.json") -> Any:
    given = ["tune", made / "model", "--request", made / request, "--plot", made / "tuning.png", *arguments]
    return RUNNER.invoke(main.app, list(map(str, given)))


QUICK = ("--rate", 100, "--rounds", 2, "--minutes", 0.3, "--threads", 1, "--delay-ms", 0)


def test_what_meets_the_target_is_proposed_and_nothing_is_applied(made: pathlib.Path) -> None:
    result = tune(made, *QUICK, "--max-latency-ms", 60000, "--replicas", "1,2", "-o", "json")
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert [(each["setting"], each["replicas"]) for each in found["points"]] == [
        ("1 thread, no batching", 1),
        ("1 thread, no batching", 2),
        ("1 thread, 64 rows, 0 ms", 1),
        ("1 thread, 64 rows, 0 ms", 2),
    ]
    for each in found["points"]:
        assert each["offeredPerSecond"] == 100 / each["replicas"]
        assert each["failed"] == 0
        assert 0 < each["p50Seconds"]["least"] <= each["p50Seconds"]["median"] <= each["p99Seconds"]["most"]
        assert each["requests"] >= 100
        assert each["cores"] > 0
        assert each["memoryBytes"] > 50 * 2**20
    # On a machine that is too busy for 100 requests a second nothing meets the target, and that is said.
    meeting = [each for each in found["points"] if each["roundsMet"] == 2]
    assert (result.exit_code == 0, found["recommendation"] is not None) == (bool(meeting), bool(meeting))
    if meeting:
        recommended = found["recommendation"]
        assert (recommended["setting"], recommended["replicas"]) in [(e["setting"], e["replicas"]) for e in meeting]
        assert recommended["patch"]["spec"]["scaling"]["replicas"] == recommended["replicas"]
    assert (made / "tuning.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.nightly
def test_a_target_that_no_setting_meets_is_an_outcome(made: pathlib.Path) -> None:
    result = tune(made, *QUICK, "--max-latency-ms", 0.01, "--replicas", "2", request="v1.json")
    assert result.exit_code == 1, result.output
    assert "No setting meets the target" in result.stdout
    assert "The nearest is 2 replicas with 1 thread" in result.stdout
    assert "kubectl patch" not in result.stdout


@pytest.mark.parametrize(
    ("request_file", "arguments", "words"),
    [
        ("wrong.json", (), "the model does not answer the request (status 400"),
        ("nothing.json", (), "has neither 'inputs' nor 'instances'"),
        ("text.json", (), "is not JSON"),
        ("missing.json", (), "No such file or directory; --request must be a file"),
        ("request.json", ("--minutes", 0.01), "Raise --minutes"),
    ],
)
def test_what_can_not_be_measured_is_refused_with_what_would_be_right(
    made: pathlib.Path, request_file: str, arguments: tuple[object, ...], words: str
) -> None:
    given = (*QUICK, "--max-latency-ms", 50, "--replicas", "1", "--max-rows", "64", *arguments)
    result = tune(made, *given, request=request_file)
    assert result.exit_code == 1, result.output
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("option", "value"), [("--threads", "0"), ("--replicas", "two"), ("--max-rows", "on,64"), ("--delay-ms", "501")]
)
def test_a_list_that_can_not_be_read_is_refused(made: pathlib.Path, option: str, value: str) -> None:
    result = tune(made, "--rate", 10, "--max-latency-ms", 50, option, value)
    assert result.exit_code == 2, result.output
    assert repr(value).strip("'") in result.output
