"""Small real models evaluated on small files: what the record holds, and how wrong files are refused."""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from fairlead_cli import main
from fairlead_cli.evaluation import labelled_data
from fairlead_runtime.model import digest, evaluation_record

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
RUNNER = CliRunner()
ROWS = np.eye(3, dtype=np.float32).repeat(20, axis=0)
LABELS = np.arange(3).repeat(20)


class Texts(tf.Module):
    """Says whether a text contains the word `good`, as a probability."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def call(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.strings.regex_full_match(text, ".*good.*")
        return {"positive": tf.cast(found, tf.float32)[:, None]}


class Scores(tf.Module):
    """Takes two inputs; its scores are their sum, and NaN where the sum is."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], tf.float32, "left"), tf.TensorSpec([None, 3], tf.float32, "right")]
    )
    def call(self, left: tf.Tensor, right: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": left + right}


class Boxes(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"boxes": tf.stack([x, x], axis=1)}


class Single(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, 3], tf.float32, "x")])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": x}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Each model in a folder of its own; `plain` as a SavedModel and as a Keras file."""
    root = tmp_path_factory.mktemp("evaluated")
    for name, module in (("texts", Texts()), ("pair", Scores()), ("boxes", Boxes()), ("single", Single())):
        tf.saved_model.save(module, str(root / name / "saved_model"), signatures={"serving_default": module.call})
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="identity")(inputs))
    model.export(root / "plain" / "saved_model", verbose=False)
    (root / "file").mkdir()
    model.save(root / "file" / "model.keras")
    return root


@pytest.fixture
def data(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    def write(**arrays: Any) -> pathlib.Path:
        path = tmp_path / "data.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


def evaluate(model: pathlib.Path, data: pathlib.Path) -> evaluation_record.EvaluationRecord:
    result = RUNNER.invoke(main.app, ["evaluate", str(model), str(data)])
    assert result.exit_code == 0, result.output
    return evaluation_record.read(model.parent / evaluation_record.NAME)


def refused(model: pathlib.Path, data: pathlib.Path) -> str:
    result = RUNNER.invoke(main.app, ["evaluate", str(model), str(data)])
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    return result.output


def test_the_record_counts_each_class_and_names_model_and_data(made: pathlib.Path, data: Any) -> None:
    labels = LABELS.copy()
    labels[:5] = 2  # the model says 0
    file = data(x=ROWS, labels=labels, classes=np.array(["a", "b", "c"], dtype=str))
    model = made / "plain" / "saved_model"
    record = evaluate(model, file)

    assert (record.correct, record.samples, record.value) == (55, 60, 55 / 60)
    assert record.interval == evaluation_record.wilson(55, 60)
    assert [(row.name, row.samples, row.correct, row.predicted) for row in record.classes] == [
        ("a", 15, 15, 20),
        ("b", 20, 20, 20),
        ("c", 25, 20, 20),
    ]
    assert (record.classes[2].recall, record.classes[0].precision) == (0.8, 0.75)
    assert record.model_digest == digest.hash_path(model)
    assert record.data == evaluation_record.Data(name="data.npz", digest=digest.hash_path(file))
    assert record.versions["tensorflow"] == tf.__version__
    assert set(record.versions) == {"fairlead", "keras", "numpy", "python", "tensorflow"}


def test_the_same_model_and_data_give_the_same_bytes(made: pathlib.Path, data: Any) -> None:
    file, path = data(x=ROWS, labels=LABELS), made / "plain" / evaluation_record.NAME
    evaluate(made / "plain" / "saved_model", file)
    first = path.read_bytes()
    evaluate(made / "plain" / "saved_model", file)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.glob(".*")] == []


def test_a_keras_file_is_evaluated_as_the_saved_model_is(made: pathlib.Path, data: Any) -> None:
    file = data(inputs=ROWS, labels=LABELS)
    assert evaluate(made / "file" / "model.keras", file).correct == 60
    assert evaluate(made / "plain" / "saved_model", file).correct == 60


def test_the_folder_that_holds_the_model_names_it_as_well(made: pathlib.Path, data: Any) -> None:
    result = RUNNER.invoke(main.app, ["evaluate", str(made / "plain"), str(data(x=ROWS, labels=LABELS))])
    assert result.exit_code == 0, result.output
    assert str(made / "plain" / "evaluation.json") in result.output.replace("\n", "")
    assert "Accuracy 1.0000 (95% interval 0.9398 to 1.0000, 60 samples)" in result.output


def test_texts_are_sent_as_they_are_and_one_probability_is_two_classes(made: pathlib.Path, data: Any) -> None:
    texts = np.array(["a good film", "schön und good", "bad", "dull"], dtype=str)
    record = evaluate(made / "texts" / "saved_model", data(text=texts, labels=np.array([True, True, False, True])))
    assert [(row.label, row.samples, row.correct, row.predicted) for row in record.classes] == [
        (0, 1, 1, 2),
        (1, 3, 2, 2),
    ]


def test_several_inputs_are_taken_by_name_and_a_score_that_is_no_number_is_wrong(made: pathlib.Path, data: Any) -> None:
    left = ROWS.copy()
    left[0, 1] = np.nan
    record = evaluate(
        made / "pair" / "saved_model", data(right=np.zeros((60, 3)), left=left, labels=LABELS, other=np.zeros(9))
    )
    assert record.correct == 59
    assert sum(row.predicted for row in record.classes) == 59


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        pytest.param({"x": ROWS}, "has no array 'labels'; it must hold one whole number from 0", id="no labels"),
        pytest.param({"labels": LABELS}, "has no array 'x' (or 'inputs'", id="no inputs"),
        pytest.param({"x": ROWS, "labels": LABELS[:9]}, "'x' has 60 rows, but 'labels' has 9", id="fewer labels"),
        pytest.param({"x": ROWS, "labels": LABELS.astype(float)}, "the shape [60] and type float64", id="floats"),
        pytest.param({"x": ROWS, "labels": np.eye(3)}, "'labels' has the shape [3, 3]", id="one-hot labels"),
        pytest.param({"x": ROWS, "labels": LABELS - 1}, "'labels' holds -1", id="a negative label"),
        pytest.param({"x": ROWS[:0], "labels": LABELS[:0]}, "'labels' has 0 rows", id="no rows"),
        pytest.param(
            {"x": ROWS[:, :2], "labels": LABELS},
            "'x' is float32 of the shape [60, 2]; the model takes float32 of the shape [-1, 3]",
            id="another shape",
        ),
        pytest.param({"x": ROWS.astype(str), "labels": LABELS}, "the model takes float32", id="texts for numbers"),
        pytest.param(
            {"x": ROWS.astype(object), "labels": LABELS}, "save numbers, and texts as numpy.array(", id="objects"
        ),
        pytest.param({"x": ROWS, "labels": LABELS, "classes": np.arange(3)}, "'classes' must be a list", id="names"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_its_array(
    made: pathlib.Path, data: Any, arrays: dict[str, Any], named: str
) -> None:
    output = refused(made / "plain" / "saved_model", data(**arrays))
    assert named in output
    assert "data.npz" in output


def test_a_label_that_one_probability_cannot_have_is_refused(made: pathlib.Path, data: Any) -> None:
    output = refused(made / "texts" / "saved_model", data(text=np.array(["a"]), labels=np.array([2])))
    assert "a label must be 0 or 1, but 'labels' holds 2" in output


@pytest.mark.parametrize(
    ("model", "named"),
    [
        pytest.param("boxes/saved_model", "has scores of the shape [rows, classes]", id="no classes"),
        pytest.param("single/saved_model", "input 'x' has no free first dimension", id="one row alone"),
        pytest.param("missing", "there is no such model", id="no model"),
        pytest.param("plain/saved_model/variables", "is not a SavedModel", id="no SavedModel"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused(made: pathlib.Path, data: Any, model: str, named: str) -> None:
    assert named in refused(made / model, data(x=ROWS, labels=LABELS))


def test_what_is_no_archive_of_arrays_is_refused(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "data.npz"
    model = made / "plain" / "saved_model"
    assert "there is no such file" in refused(model, file)
    file.write_bytes(b"a,b\n1,2\n")
    assert "is no .npz file" in refused(model, file)
    assert "is a folder" in refused(model, tmp_path)
    with zipfile.ZipFile(file, "w") as packed:
        for number in range(labelled_data.ARRAYS_MAX + 1):
            packed.writestr(f"{number}.npy", b"")
    assert "at most 64" in refused(model, file)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("labels.npy", b"\x93NUMPY\x01\x00nothing")
    assert "'labels' can't be read" in refused(model, file)


def test_more_bytes_than_the_bound_are_not_read(made: pathlib.Path, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_data, "BYTES_MAX", 1000)
    assert "at most 1000 are allowed" in refused(made / "plain" / "saved_model", data(x=ROWS, labels=LABELS))


def test_a_record_that_cannot_be_written_is_an_error_and_leaves_nothing(
    made: pathlib.Path, data: Any, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "taken" / "evaluation.json").mkdir(parents=True)
    model = tmp_path / "taken" / "model.keras"
    model.write_bytes((made / "file" / "model.keras").read_bytes())
    assert "evaluation.json can't be written" in refused(model, data(x=ROWS, labels=LABELS))
    assert {entry.name for entry in model.parent.iterdir()} == {"evaluation.json", "model.keras"}


def test_more_classes_than_the_table_takes_are_counted(made: pathlib.Path, data: Any) -> None:
    names = np.array([f"class {number}" for number in range(1200)], dtype=str)
    record = evaluate(made / "plain" / "saved_model", data(x=ROWS, labels=LABELS, classes=names))
    assert (len(record.classes), record.classes_left_out) == (1000, 200)
    assert len(json.dumps(record.model_dump(mode="json"))) < evaluation_record.BYTES_MAX
