"""`fairlead optimize`: the table, the JSON and the plot of the variants of a real model; errors name what is wrong."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.support import png_pixels
from typer.testing import CliRunner

from fairlead_cli import charts, main
from fairlead_cli.evaluation import chosen_samples
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.evaluation.labelled_data import LabelledData
from fairlead_cli.optimization import plot, report
from fairlead_cli.optimization.measuring import Found
from fairlead_runtime.config import Optimization
from fairlead_runtime.model.onnx import conversions
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import judging, samples
from fairlead_runtime.optimization.record import Speed, Table, Variant

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
    rows = np.random.default_rng(2).random((240, 64), dtype=np.float32)
    weights, bias = model.layers[-1].get_weights()
    # All classes are about equally frequent.
    model.layers[-1].set_weights([weights, bias - np.log(np.asarray(model(rows))).mean(axis=0)])
    model.export(root / "saved_model", verbose=False)
    labels = np.asarray(model(rows)).argmax(axis=1)
    np.savez(root / "data.npz", x=rows, labels=labels)
    np.savez(root / "renamed.npz", other=rows, labels=labels)
    texts = tf.Module()
    texts.call = tf.function(lambda x: {"y": tf.strings.length(x)}, [tf.TensorSpec((None,), tf.string, "x")])
    tf.saved_model.save(texts, root / "texts", signatures=texts.call.get_concrete_function())
    np.savez(root / "texts.npz", x=np.array(["a"] * 20), labels=np.ones(20, dtype=int))
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
        ("saved_model", "renamed.npz", "renamed.npz has no array 'x'"),
        ("texts", "texts.npz", "has no variants, as it stays on TensorFlow: "),
    ],
)
def test_an_error_names_the_file_before_the_model_is_converted(
    made: pathlib.Path, monkeypatch: pytest.MonkeyPatch, model: str, data: str, why: str
) -> None:
    monkeypatch.setattr(conversions, "find_or_make", never)
    code, _, problems = run(str(made / model), str(made / data))
    assert code == 1
    assert why in problems


def never(*_: object) -> None:
    raise AssertionError("the model is converted")


def test_an_unknown_signature_is_named_before_the_model_is_converted(
    made: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "find_or_make", never)
    code, _, problems = run(str(made / "saved_model"), str(made / "data.npz"), "--signature", "other")
    assert code == 1
    assert "the model has no signature 'other'; available: " in problems


def test_of_large_rows_as_many_are_taken_as_a_replica_reads() -> None:
    rows = np.broadcast_to(np.zeros((1, 224, 224, 3), dtype=np.float32), (1000, 224, 224, 3))
    data = LabelledData(inputs=(rows,), labels=np.zeros(1000, dtype=int), names=())
    count = chosen_samples.count_fitting(data)
    assert 100 < count < samples.FILE_BYTES_MAX / rows[0].nbytes
    small = LabelledData(inputs=(np.zeros((5000, 3)),), labels=np.zeros(5000, dtype=int), names=())
    assert chosen_samples.count_fitting(small) == samples.ROWS_MAX


def test_labels_that_no_class_has_are_refused_before_a_replica_reads_them() -> None:
    signature = Signature(
        name="serving_default",
        method="predict",
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 3)),),
        outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 4)),),
    )
    data = LabelledData(inputs=(np.zeros((20, 3), np.float32),), labels=np.arange(20) % 10, names=())
    why = "no replica would take 20 rows of the data as samples: .* holds 9, but the model's scores are of 4 classes"
    with pytest.raises(EvaluationError, match=why):
        chosen_samples.choose(signature, data, 20)


def test_it_says_why_the_samples_judge_nothing() -> None:
    table = Table(samples=100, most_frequent=95, variants=POINTS, unmade=(), answers="0" * 64, made_s=0)
    judged = judging.judge(table, Optimization())
    lines = list(report.describe(Found(table=table, judged=judged, engines=())))
    assert lines[0] == "Float serves (NoSamples)."
    assert "a model that always answers the most frequent label would keep the accuracy floor" in lines[1]
