"""SavedModels of plain TensorFlow functions: types, shapes, several inputs, control flow, state, TensorFlow 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tests.corpus.entry import (
    Arrays,
    Built,
    Entry,
    Form,
    array,
    numbers,
    save_form,
    saved_entry,
    to_arrays,
)

Made = tuple[Any, Any, Arrays]
FLOATS = tf.TensorSpec([None, 4], tf.float32, "x")


def made(specs: list[Any], call: Callable[..., Any], **given: np.ndarray[Any, Any]) -> Made:
    """A function and a request for it."""
    module = tf.Module()
    module.call = tf.function(call, input_signature=specs, autograph=False)
    return module, module.call, given


def spec(name: str, *shape: int | None, dtype: Any = tf.float32) -> Any:
    return tf.TensorSpec(list(shape), dtype, name)


def of_type(dtype: Any) -> Callable[[], Made]:
    def make() -> Made:
        numpy = np.float32 if dtype == tf.bfloat16 else dtype.as_numpy_dtype
        given = np.array([[0, 1], [2, 3]]).astype(numpy)
        call = (lambda x: {"y": ~x}) if dtype == tf.bool else (lambda x: {"y": x + x})
        return made([spec("x", None, 2, dtype=dtype)], call, x=given)

    return make


def half_and_half() -> Made:
    return made([FLOATS], lambda x: {"low": x[:, :2], "high": x[:, 2:]}, x=numbers(3, 4))


def candidates() -> Made:
    """One row of a user beside many of items."""
    specs = [spec("user", 1, 4), spec("items", None, 4)]
    call = lambda user, items: {"score": tf.linalg.matvec(items, user[0])}  # noqa: E731
    return made(specs, call, user=numbers(1, 4), items=numbers(6, 4))


def ragged_parts() -> Made:
    specs = [spec("values", None), spec("splits", None, dtype=tf.int64)]

    def call(values: tf.Tensor, splits: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.RaggedTensor.from_row_splits(values, splits)
        return {"sum": tf.reduce_sum(rows, axis=1)}

    return made(specs, call, values=array([1, 2, 3, 4]), splits=array([0, 1, 4], "int64"))


def sparse_parts() -> Made:
    specs = [spec("indices", None, 2, dtype=tf.int64), spec("values", None), spec("shape", 2, dtype=tf.int64)]

    def call(indices: tf.Tensor, values: tf.Tensor, shape: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.sparse.reduce_sum(tf.SparseTensor(indices, values, shape), 1)}

    given = {"values": array([1, 5]), "shape": array([2, 3], "int64")}
    return made(specs, call, indices=array([[0, 1], [1, 2]], "int64"), **given)


def ragged(folder: Path) -> Built:
    """A ragged tensor as such: TensorFlow makes an input of each of its parts."""
    module = tf.Module()
    kind = tf.RaggedTensorSpec([None, None], tf.float32, 1)
    module.call = tf.function(lambda x: {"sum": tf.reduce_sum(x, 1)}, input_signature=[kind])
    given = {"x": array([1, 2, 3, 4]), "x_1": array([0, 1, 4], "int64")}
    return Built(save_form(module, module.call, folder, Form.SAVED), given, {"sum": array([1, 9])})


def loop() -> Made:
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda y: tf.reduce_max(y) < 100.0, lambda y: (y * 2.0,), [tf.abs(x) + 1.0])[0]}

    return made([FLOATS], call, x=numbers(2, 4))


def branch() -> Made:
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cond(tf.reduce_sum(x) > 0.0, lambda: x, lambda: -x)}

    return made([FLOATS], call, x=-np.abs(numbers(2, 4)))


def step() -> Made:
    """A decoder's step: the client carries the state from one request to the next."""
    module = tf.Module()
    module.w = tf.Variable(tf.random.stateless_normal([6, 4], [1, 2]))

    @tf.function(input_signature=[spec("token", None, 2), spec("state", None, 4)])
    def call(token: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        after = tf.tanh(tf.concat([token, state], 1) @ module.w)
        return {"next": after[:, :2], "state": after}

    module.call = call
    return module, call, {"token": numbers(2, 2), "state": numbers(2, 4)}


def neighbours() -> Made:
    points = tf.constant(numbers(20, 4, seed=9))

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        distance = tf.reduce_sum((x[:, None] - points[None]) ** 2, -1)
        found = tf.math.top_k(-distance, 3)
        return {"distance": -found.values, "index": found.indices}

    return made([FLOATS], call, x=numbers(2, 4))


def detections() -> Made:
    """Boxes that suppress each other; how many come out depends on the values."""
    specs = [spec("boxes", None, 4), spec("scores", None)]

    def call(boxes: tf.Tensor, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"kept": tf.image.non_max_suppression(boxes, scores, 10, 0.5)}

    boxes = array([[0, 0, 1, 1], [0, 0, 0.9, 1], [2, 2, 3, 3]])
    return made(specs, call, boxes=boxes, scores=array([0.5, 0.9, 0.3]))


def unknown_rank() -> Made:
    return made([tf.TensorSpec(None, tf.float32, "x")], lambda x: {"y": x * 2.0}, x=numbers(2, 3, 2))


def filling() -> Made:
    given = array([[1, 2, -np.inf, 4]])
    return made([FLOATS], lambda x: {"y": tf.where(x > 1.5, x, -x)}, x=given)


def large_variable() -> Made:
    """More than what is copied into a graph."""
    module = tf.Module()
    module.w = tf.Variable(tf.zeros([1024, 9 * 1024]))

    @tf.function(input_signature=[spec("i", None, dtype=tf.int32)])
    def call(i: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.gather(module.w, i)[:, :2] + 1.0}

    module.call = call
    return module, call, {"i": array([0, 1023], "int32")}


FUNCTIONS: dict[str, Callable[[], Made]] = {
    "Outputs by name": half_and_half,
    "Two inputs with different numbers of rows": candidates,
    "Ragged input by its parts": ragged_parts,
    "Sparse input by its parts": sparse_parts,
    "Unknown rank": unknown_rank,
    "Fixed batch of 1": lambda: made([spec("x", 1, 4)], lambda x: {"y": x + 1.0}, x=numbers(1, 4)),
    "No batch dimension": lambda: made([spec("x", 4)], lambda x: {"y": tf.reduce_sum(x)}, x=numbers(4)),
    "Scalars in and out": lambda: made([spec("a"), spec("b")], lambda a, b: {"sum": a + b}, a=array(1.5), b=array(2)),
    "Infinities in": filling,
    "A loop until a condition holds": loop,
    "A branch on the values": branch,
    "One step of a decoder, with its state in and out": step,
    "Nearest neighbours": neighbours,
    "Non-maximum suppression": detections,
    "Fourier transform inside": lambda: made(
        [spec("x", None, 8)], lambda x: {"power": tf.abs(tf.signal.rfft(x))}, x=numbers(2, 8)
    ),
    "Least squares inside": lambda: made(
        [spec("a", None, 4, 2), spec("b", None, 4, 1)],
        lambda a, b: {"x": tf.linalg.lstsq(a, b, fast=True)},
        a=numbers(2, 4, 2),
        b=numbers(2, 4, 1),
    ),
    "Variables of 36 MiB": large_variable,
}
LISTWISE: dict[str, Callable[[], Made]] = {
    "Rows that are ranked against each other": lambda: made(
        [FLOATS], lambda x: {"share": tf.nn.softmax(tf.reduce_sum(x, 1), 0)}, x=numbers(3, 4)
    ),
    "Rows less their mean": lambda: made([FLOATS], lambda x: {"y": x - tf.reduce_mean(x, 0)}, x=numbers(3, 4)),
    "Rows in sorted order": lambda: made([FLOATS], lambda x: {"y": tf.sort(x, axis=0)}, x=numbers(3, 4)),
}
TYPES = [
    tf.float16,
    tf.bfloat16,
    tf.float64,
    tf.int8,
    tf.int16,
    tf.int64,
    tf.uint8,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.bool,
]


def of_tensorflow_1(folder: Path) -> Built:
    v1 = tf.compat.v1
    given = numbers(2, 4)
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        weights = v1.get_variable("w", initializer=tf.constant(numbers(4, 2)), use_resource=False)
        y = tf.matmul(x, weights)
        session.run(v1.global_variables_initializer())
        predict = v1.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder / "model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": predict})
        builder.save()
        answer = session.run(y, {x: given})
    return Built(folder / "model", {"x": given}, {"y": answer})


def with_tags(folder: Path) -> Built:
    """The same graph for a GPU beside the one for any device."""
    module, function, given = half_and_half()
    path = save_form(module, function, folder, Form.SAVED)
    file = path / "saved_model.pb"
    graph = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph.meta_graphs.add().CopyFrom(graph.meta_graphs[0])
    graph.meta_graphs[0].meta_info_def.tags.append("gpu")
    file.write_bytes(graph.SerializeToString())
    return Built(path, given, to_arrays(function(tf.constant(given["x"]))))


def by_name(folder: Path) -> Built:
    """Two signatures; none of them is the default."""
    module, first, given = half_and_half()
    _, second, _ = made([FLOATS], lambda x: {"total": tf.reduce_sum(x, 1)})
    tf.saved_model.save(module, str(folder / "model"), signatures={"halves": first, "total": second})
    return Built(folder / "model", given, {"total": given["x"].sum(1)})


ENTRIES: list[Entry] = [
    *(saved_entry(name, make) for name, make in FUNCTIONS.items()),
    *(saved_entry(name, make, shares=False) for name, make in LISTWISE.items()),
    *(saved_entry(f"Tensors of {dtype.name}", of_type(dtype)) for dtype in TYPES),
    saved_entry("Versions 1, 2 and 10: the highest is served", half_and_half, form=Form.VERSIONS),
    saved_entry("An archive", half_and_half, form=Form.ARCHIVE),
    Entry("Ragged input that TensorFlow splits into two", Form.SAVED, ragged),
    Entry("Variables, a session and a builder", Form.TF1, of_tensorflow_1),
    Entry("Two graphs, one with the tag gpu", Form.SAVED, with_tags),
    Entry("One of two signatures by name", Form.SAVED, by_name, source={"signature": "total"}),
]
