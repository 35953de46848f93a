"""`fairlead optimize`: the table, the JSON and the plot of the variants of a real model; errors name what is wrong."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest
from tests.support import png_pixels
from typer.testing import CliRunner

from fairlead_cli import charts, main
from fairlead_cli.optimization import plot, report
from fairlead_runtime.optimization.record import Speed, Variant

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]
RUNNER = CliRunner()


def variant(name: str, best_s: float, correct: int) -> Variant:
    return Variant(
        name=name,
        file=f"{name}.onnx.z",
        digest="0" * 64,
        size_bytes=1000,
        rss_bytes=1000,
        start_s=0.5,
        speeds=(Speed(rows=1, best_s=best_s, p50_s=best_s, p99_s=best_s),),
        correct=correct,
        score_change=0,
    )


POINTS = (variant("Float", 100e-6, 95), variant("A", 50e-6, 94), variant("B", 60e-6, 93), variant("C", 50e-6, 94))


def test_the_pareto_front_has_what_nothing_beats_and_equals_share_it() -> None:
    assert report.pareto(POINTS) == {"Float", "A", "C"}


def test_the_plot_is_a_png_with_points_of_both_colours() -> None:
    content = plot.draw(POINTS, 100)
    pixels = png_pixels.decode(content)
    for colour in (charts.COLOURS[0], charts.GREY):
        assert png_pixels.count(pixels, colour) > 50


def test_variants_with_one_time_and_one_accuracy_can_be_drawn() -> None:
    assert plot.draw(POINTS[:1], 100).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("optimized")
    keras.utils.set_random_seed(1)
    inputs = keras.Input((64,), name="x")
    hidden = keras.layers.Dense(128, "relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, "softmax")(hidden))
    model.export(root / "saved_model", verbose=False)
    rows = np.random.default_rng(2).random((240, 64), dtype=np.float32)
    np.savez(root / "data.npz", x=rows, labels=np.asarray(model(rows)).argmax(axis=1))
    return root


def run(*arguments: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(main.app, ["optimize", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_it_measures_and_says_which_variant_serves(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    drawn = tmp_path / "front.png"
    techniques = [argument for name in ("WeightClustering", "StructuredPruning") for argument in ("--technique", name)]
    bounds = ["--optimize-for", "Size", "--max-drop", "0.5", "--max-score-change", "1", "--timeout", "1500"]
    given = [str(made / "saved_model"), str(made / "data.npz"), *techniques, *bounds]
    code, output, problems = run(*given, "--plot", str(drawn), "-o", "json")
    assert code == 0, problems
    found = json.loads(output)
    assert (found["samples"], found["reason"]) == (160, "Best")
    by_name = {each["name"]: each for each in found["variants"]}
    assert next(iter(by_name)) == "Float"
    assert by_name["Float"]["accuracy"] == 1.0
    assert by_name[found["serves"]]["verdict"] == "serves"
    assert by_name[found["serves"]]["size_bytes"] < 0.5 * by_name["Float"]["size_bytes"]
    assert [each["rows"] for each in found["engines"]] == [1, 32]
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "data", "why"),
    [
        ("nothing", "data.npz", "there is no such model"),
        ("saved_model", "nothing.npz", "there is no such file"),
    ],
)
def test_an_error_names_the_file(made: pathlib.Path, model: str, data: str, why: str) -> None:
    code, _, problems = run(str(made / model), str(made / data), "--timeout", "1500")
    assert code == 1
    assert why in problems
