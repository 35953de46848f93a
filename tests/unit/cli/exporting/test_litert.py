"""`fairlead export --to litert`: a file with the model's names and answers, its record, and what is refused."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from fairlead_cli import main
from fairlead_cli.exporting import litert
from fairlead_runtime.model import digest, evaluation_record

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
RUNNER = CliRunner()
ROWS = np.eye(3, dtype=np.float32).repeat(20, axis=0)
LABELS = np.arange(3).repeat(20)


class Texts(tf.Module):
    """The length of each text."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def call(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(text)}


def recurrent(**options: Any) -> keras.Model:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    hidden = keras.layers.LSTM(4, **options)(keras.layers.Embedding(40, 3)(tokens))
    return keras.Model(tokens, keras.layers.Dense(1, "sigmoid", name="positive")(hidden))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """`right` predicts each row of `data.npz` right but for the first twelve, whose labels are wrong."""
    root = tmp_path_factory.mktemp("exported")
    inputs = keras.Input((3,), name="pixels")
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="identity", name="scores")(inputs))
    model.export(root / "right", verbose=False)
    model.save(root / "right.keras")
    keras.utils.set_random_seed(0)
    looped = recurrent(dropout=0.2, recurrent_dropout=0.2)
    looped.export(root / "looped", verbose=False)
    unrolled = recurrent(unroll=True)
    unrolled.set_weights([np.asarray(each) for each in looped.weights if each.dtype == "float32"])
    unrolled.export(root / "unrolled", verbose=False)
    tf.saved_model.save(Texts(), str(root / "texts"), signatures={"serving_default": Texts().call})
    labels = np.where(np.arange(60) < 12, 2, LABELS)
    np.savez(root / "data.npz", pixels=ROWS, labels=labels)
    return root


def request(made: pathlib.Path, folder: pathlib.Path, model: str, data: str | None = None) -> litert.Request:
    return litert.Request(
        model=made / model,
        data=None if data is None else made / data,
        signature=None,
        folder=folder,
        seconds=600,
        memory_bytes=2**34,
        threads=1,
        parent=os.getpid(),
    )


def test_a_model_is_exported_with_its_answers_and_its_own_record(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    output = tmp_path / "edge.tflite"
    options = ["--to", "litert", "--data", str(made / "data.npz")]
    result = RUNNER.invoke(main.app, ["export", str(made / "right"), str(output), *options])
    assert result.exit_code == 0, result.output
    record = evaluation_record.read(tmp_path / "edge.evaluation.json")
    assert (record.correct, record.samples, record.model_digest) == (48, 60, digest.hash_path(output))
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Written: {output} (0.00")
    assert lines[1].startswith("Compared with TensorFlow on 60 rows of DATA: outputs differ by ")
    assert lines[2] == "Accuracy 0.8000 (95% interval 0.6822 to 0.8817, 60 samples); by TensorFlow 0.8000."
    assert lines[3] == "The top prediction is the same for 60 of 60 samples."
    assert {path.name for path in tmp_path.iterdir()} == {"edge.tflite", "edge.evaluation.json"}
    runner = tf.lite.Interpreter(model_path=str(output)).get_signature_runner()
    assert list(runner.get_input_details()) == ["pixels"]
    (answer,) = runner(pixels=ROWS[:2]).values()
    assert answer[0].argmax() == 0


def test_an_export_without_data_is_compared_on_random_inputs_and_has_no_record(
    made: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    found = litert._export(request(made, tmp_path, "right.keras"))
    assert (found.refused, found.record) == (None, None)
    assert found.compared_rows >= 3
    assert found.difference < 1e-5


def test_a_loop_over_time_steps_is_refused_with_what_to_do_and_the_unrolled_layer_is_exported(
    made: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(litert.CannotExportError) as refused:
        litert._export(request(made, tmp_path, "looped"))
    assert "unroll=True and without dropout" in str(refused.value)
    assert list(tmp_path.iterdir()) == []

    found = litert._export(request(made, tmp_path, "unrolled"))

    assert found.compared_rows >= 3
    served = tf.saved_model.load(str(made / "looped"))
    tokens = np.arange(12, dtype=np.int32).reshape(2, 6)
    (expected,) = served.signatures["serving_default"](tokens=tokens).values()
    runner = tf.lite.Interpreter(model_path=str(tmp_path / litert.MODEL)).get_signature_runner()
    np.testing.assert_allclose(next(iter(runner(tokens=tokens).values())), expected, atol=1e-5)


def test_a_model_that_takes_texts_is_refused_with_what_to_export(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(litert.CannotExportError, match="its input 'text' holds texts, which LiteRT can't take: export"):
        litert._export(request(made, tmp_path, "texts"))


def test_a_file_whose_answers_differ_is_refused(
    made: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = litert.LiteRtPredictor.__call__

    def changed(self: litert.LiteRtPredictor, inputs: Any) -> Any:
        return tuple(each + 0.01 for each in call(self, inputs))

    monkeypatch.setattr(litert.LiteRtPredictor, "__call__", changed)
    with pytest.raises(litert.CannotExportError, match=r"differ from TensorFlow's by up to 0\.01, beyond the rounding"):
        litert._export(request(made, tmp_path, "right", "data.npz"))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("error: 'tf.TensorListReserve' op requires element_shape", "unroll=True"),
        ("Some ops in the model are custom ops, Flex ops: FlexErfinv, FlexDigamma", "no kernel for Digamma, Erfinv:"),
        ("something else\nand more", "the converter refuses it: something else"),
    ],
)
def test_what_the_converter_says_becomes_one_sentence(error: str, why: str) -> None:
    assert why in litert.describe_refusal(error)


@pytest.mark.parametrize(
    ("output", "options", "why"),
    [
        ("edge.onnx", (), "the file of litert ends with .tflite, as in model.tflite"),
        ("missing/edge.tflite", (), "name a file in a folder that exists"),
        ("edge.tflite", ("--data", "missing.npz"), "missing.npz: there is no such file; --data must be a .npz file"),
        ("edge.tflite", ("--timeout", "1"), "the export took longer than 1 s (--timeout)"),
    ],
)
def test_nothing_is_left_where_an_export_is_refused(
    made: pathlib.Path, tmp_path: pathlib.Path, output: str, options: tuple[str, ...], why: str
) -> None:
    given = ["export", str(made / "right"), str(tmp_path / output), "--to", "litert", *options]
    result = RUNNER.invoke(main.app, given)
    assert result.exit_code == 1
    assert why in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_the_process_is_bounded(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    given = ["export", str(made / "right"), str(tmp_path / "edge.tflite"), "--to", "litert", "--memory-limit", "64Mi"]
    result = RUNNER.invoke(main.app, given)
    assert result.exit_code == 1
    assert str(made / "right") in result.stderr
    assert list(tmp_path.iterdir()) == []
