"""What is refused before it is served, and in which words."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tests.corpus import functions, keras_models
from tests.corpus.entry import Entry, Form, refused_entry

from fairlead_runtime.errors import LoadReason

L = keras.layers
FLOATS = functions.FLOATS
Maker = Callable[[Path], Path]


def saved(call: Callable[..., Any], specs: list[Any] | None = None) -> Maker:
    """A SavedModel with that function."""

    def make(folder: Path) -> Path:
        module = tf.Module()
        specs_used = [FLOATS] if specs is None else specs
        module.call = tf.function(call, input_signature=specs_used, autograph=False)
        tf.saved_model.save(module, str(folder / "model"), signatures=module.call)
        return folder / "model"

    return make


def keras_file(make: Callable[[], tuple[Any, Any]]) -> Maker:
    def build(folder: Path) -> Path:
        model, _ = make()
        model.save(folder / "model.keras")
        return folder / "model.keras"

    return build


def file(name: str, content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def within(*names: str, content: bytes = b"content") -> Maker:
    """A folder with files of these names."""

    def make(folder: Path) -> Path:
        for name in names:
            target = folder / "model" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return folder / "model"

    return make


def of_keras_2(folder: Path) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Functional"}))
        archive.writestr("model.weights.h5", b"")
    return path


def two_models(folder: Path) -> Path:
    for name in ("left", "right"):
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "saved_model.pb").write_bytes(b"")
    return folder / "models"


def two_signatures(folder: Path) -> Path:
    return functions.by_name(folder).path


def for_training(folder: Path) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved(lambda x: {"y": x})(folder)
    graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph.meta_graphs[0].meta_info_def.tags[:] = ["train"]
    (path / "saved_model.pb").write_bytes(graph.SerializeToString())
    return path


def without_variables(folder: Path) -> Path:
    path = functions.save_form(*functions.step()[:2], folder, Form.SAVED)
    for each in (path / "variables").iterdir():
        each.unlink()
    return path


def cut(folder: Path) -> Path:
    path = keras_file(keras_models.within)(folder)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def vocabulary_path(folder: Path) -> Path:
    """A text layer that would read any file of the node."""
    words = keras.Input((1,), dtype="string", name="text")
    path = folder / "model.keras"
    keras.Model(words, L.StringLookup(vocabulary=["a"])(words)).save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    config["config"]["layers"][1]["config"]["vocabulary"] = "/etc/passwd"
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def python_function(x: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"y": tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), [None, 4])}


def positive(x: tf.Tensor) -> dict[str, tf.Tensor]:
    with tf.control_dependencies([tf.debugging.assert_positive(x, "prices are positive")]):
        return {"y": tf.identity(x)}


def printing(x: tf.Tensor) -> dict[str, tf.Tensor]:
    with tf.control_dependencies([tf.print(x)]):
        return {"y": tf.identity(x)}


SAVED, KERAS, FILE, FOLDER = Form.SAVED, Form.KERAS, Form.FILE, Form.FOLDER
R = LoadReason
ENTRIES: list[Entry] = [
    refused_entry(
        "Complex numbers out",
        SAVED,
        saved(lambda x: {"y": tf.cast(x, tf.complex64)}),
        R.MODEL_UNSUPPORTED,
    ),
    refused_entry(
        "Complex numbers in",
        SAVED,
        saved(lambda x: {"y": tf.abs(x)}, [functions.spec("x", None, 4, dtype=tf.complex128)]),
        R.MODEL_UNSUPPORTED,
    ),
    refused_entry(
        "Quantized numbers out",
        SAVED,
        saved(lambda x: {"y": tf.quantization.quantize(x, -1.0, 1.0, tf.qint8)[0]}),
        R.MODEL_UNSUPPORTED,
    ),
    refused_entry(
        "Ragged tensor out",
        SAVED,
        saved(lambda x: {"y": tf.RaggedTensor.from_tensor(x)}),
        R.MODEL_UNSUPPORTED,
    ),
    refused_entry(
        "Sparse tensor out",
        SAVED,
        saved(lambda x: {"y": tf.sparse.from_dense(x)}),
        R.MODEL_UNSUPPORTED,
    ),
    replace(
        refused_entry("An example of another shape", SAVED, saved(lambda x: {"y": x}), R.EXAMPLE_INVALID),
        example='{"instances": [[1, 2]]}',
    ),
    replace(
        refused_entry("An example that the model refuses", SAVED, saved(positive), R.EXAMPLE_INVALID),
        example='{"instances": [[1, 2, 3, -4]]}',
    ),
    refused_entry(
        "No inputs",
        SAVED,
        saved(lambda: {"y": tf.constant(1.0)}, []),
        R.MODEL_UNSUPPORTED,
    ),
    refused_entry(
        "Python code (`tf.numpy_function`)",
        SAVED,
        saved(python_function),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "Reads files of the node",
        SAVED,
        saved(lambda x: {"y": x, "f": tf.io.read_file("/etc/hostname")}),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "Prints",
        SAVED,
        saved(printing),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "Two signatures, neither chosen",
        SAVED,
        two_signatures,
        R.SIGNATURE_NOT_FOUND,
    ),
    refused_entry(
        "A signature that the model lacks",
        SAVED,
        saved(lambda x: {"y": x}),
        R.SIGNATURE_NOT_FOUND,
        signature="predict",
    ),
    refused_entry(
        "A signature of a Keras file",
        KERAS,
        keras_file(keras_models.within),
        R.SIGNATURE_NOT_FOUND,
        signature="predict",
    ),
    refused_entry(
        "Another format than spec.model.format",
        KERAS,
        keras_file(keras_models.within),
        R.FORMAT_MISMATCH,
        format="SavedModel",
    ),
    refused_entry(
        "A graph for training alone",
        SAVED,
        for_training,
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Without its variables",
        SAVED,
        without_variables,
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Damaged saved_model.pb",
        FOLDER,
        within("saved_model.pb"),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Two SavedModels without version numbers",
        FOLDER,
        two_models,
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Checkpoint",
        FOLDER,
        within("checkpoint", "ckpt.index", "ckpt.data-00000-of-00001"),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "TensorFlow.js model",
        FOLDER,
        within("model.json", "group1-shard1of1.bin", content=b"{}"),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Keras 2 `.keras` file",
        KERAS,
        of_keras_2,
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Keras file that was cut off",
        KERAS,
        cut,
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "HDF5 file (`.h5`)",
        FILE,
        file("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(64)),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "TensorFlow Lite file",
        FILE,
        file("model.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64)),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Frozen graph (`.pb`)",
        FILE,
        file("model.pb", tf.Graph().as_graph_def().SerializeToString() + b"\n\x10"),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Pickle",
        FILE,
        file("model.pkl", pickle.dumps({"weights": [1.0]})),
        R.MODEL_CORRUPT,
    ),
    refused_entry(
        "Zip that is no model",
        FILE,
        lambda folder: _zip(folder),
        R.MODEL_CORRUPT,
    ),
    refused_entry("Empty folder", FOLDER, lambda folder: folder, R.MODEL_CORRUPT),
    refused_entry(
        "Nothing at the address",
        FOLDER,
        lambda folder: folder / "nothing",
        R.MODEL_NOT_FOUND,
    ),
    refused_entry(
        "Lambda",
        KERAS,
        keras_file(keras_models.lambda_layer),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "A layer of one's own",
        KERAS,
        keras_file(keras_models.own_layer),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "Subclassed model",
        KERAS,
        keras_file(keras_models.subclassed),
        R.UNSAFE_MODEL,
    ),
    refused_entry(
        "Text layer that reads a file",
        KERAS,
        vocabulary_path,
        R.UNSAFE_MODEL,
    ),
]


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("readme.txt", "no model")
    return folder / "model.zip"
