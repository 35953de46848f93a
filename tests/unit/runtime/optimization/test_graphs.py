"""What the techniques do to a graph: units that do nothing can go without a trace, loops lose what never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead_runtime.config import Technique
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import folding, graphs, making, weights
from fairlead_runtime.optimization.recipes import RECIPES, Recipe

pytestmark = pytest.mark.filterwarnings("ignore")
CHANNELS, UNITS, CLASSES = 32, 64, 4
GENERATOR = np.random.default_rng(7)
IMAGES = (GENERATOR.normal(size=(40, 6, 6, 1)).astype(np.float32),)


def constant(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def normal(*shape: int) -> np.ndarray:
    return GENERATOR.normal(0, 0.3, shape).astype(np.float32)


def dead(array: np.ndarray, axis: int) -> np.ndarray:
    """Every second unit along the axis is zero."""
    found = np.moveaxis(array.copy(), axis, 0)
    found[::2] = 0
    return np.moveaxis(found, 0, axis)


def images(conv: np.ndarray, dense: np.ndarray) -> bytes:
    """A convolution whose channels are flattened last, and two dense layers, as the converter writes them."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Conv", ["nchw", "conv", "conv_bias"], ["c"], kernel_shape=[3, 3]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", ["p"], ["nhwc"], perm=[0, 2, 3, 1]),
        node("Shape", ["p"], ["shape"]),
        node("Slice", ["shape", "zero", "one", "zero"], ["rows"]),
        node("Concat", ["rows", "features"], ["flat_shape"], axis=0),
        node("Reshape", ["nhwc", "flat_shape"], ["flat"]),
        node("MatMul", ["flat", "dense"], ["d"]),
        node("Add", ["d", "dense_bias"], ["b"]),
        node("Relu", ["b"], ["h"]),
        node("MatMul", ["h", "last"], ["scores"]),
        node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    constants = [
        constant("conv", conv),
        constant("conv_bias", dead(normal(CHANNELS), 0)),
        constant("zero", np.array([0])),
        constant("one", np.array([1])),
        constant("features", np.array([4 * CHANNELS])),
        constant("dense", dense),
        constant("dense_bias", dead(normal(UNITS), 0)),
        constant("last", normal(UNITS, CLASSES) / 10),
    ]
    return model(nodes, constants, ("x", TensorProto.FLOAT, [None, 6, 6, 1]), ("y", TensorProto.FLOAT, [None, CLASSES]))


def model(nodes: list[Any], constants: list[Any], given: tuple[Any, ...], result: tuple[Any, ...]) -> bytes:
    inputs, outputs = ([helper.make_tensor_value_info(*each)] for each in (given, result))
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


SIGNATURE = Signature(
    name="serving_default",
    method="predict",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 6, 6, 1)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, CLASSES)),),
)


def answer(content: bytes, inputs: Tensors = IMAGES, signature: Signature = SIGNATURE) -> np.ndarray:
    return predictor.open_model(content, signature, threads=1)(inputs)[0]


def recipe(name: str) -> Recipe:
    return next(each for each in RECIPES if each.name == name)


def half_dead() -> bytes:
    return images(dead(normal(CHANNELS, 1, 3, 3), 0), dead(normal(4 * CHANNELS, UNITS), 1))


def test_units_that_do_nothing_are_left_out_and_the_answers_stay() -> None:
    content = half_dead()
    made = making.Maker(content, IMAGES).make(recipe("StructuredPruning50"))
    shapes = sorted(list(tensor.dims) for tensor, _ in graphs.weights(onnx.load_model_from_string(made)))
    assert shapes == [[2 * CHANNELS, UNITS // 2]]
    assert len(made) < 0.45 * len(content)
    assert np.abs(answer(made) - answer(content)).max() < 1e-5


def test_of_units_that_do_something_the_mean_stays() -> None:
    content = images(normal(CHANNELS, 1, 3, 3), normal(4 * CHANNELS, UNITS))
    made = making.Maker(content, IMAGES).make(recipe("StructuredPruning25"))
    assert 0 < np.abs(answer(made) - answer(content)).max() < 0.5
    assert np.abs(answer(made).mean(axis=0) - answer(content).mean(axis=0)).max() < 0.1


def test_a_layer_with_another_reader_is_left_alone() -> None:
    loaded = onnx.load_model_from_string(half_dead())
    # The units of the dense layer also add to the scores in another way.
    nodes = list(loaded.graph.node)
    nodes[-1].input[0] = "both"
    total = helper.make_node("ReduceSum", ["h", "last_axis"], ["sum"], keepdims=1)
    loaded.graph.initializer.append(constant("last_axis", np.array([1])))
    loaded.graph.node.insert(len(nodes) - 1, helper.make_node("Add", ["scores", "sum"], ["both"]))
    loaded.graph.node.insert(len(nodes) - 1, total)
    content = loaded.SerializeToString()
    made = making.Maker(content, IMAGES).make(recipe("StructuredPruning50"))
    shapes = sorted(list(tensor.dims) for tensor, _ in graphs.weights(onnx.load_model_from_string(made)))
    assert shapes == [[UNITS, CLASSES], [2 * CHANNELS, UNITS]]
    assert np.abs(answer(made) - answer(content)).max() < 1e-5


def test_a_flattened_image_has_a_constant_shape_also_without_rows() -> None:
    content = half_dead()
    folded = folding.fold(content, IMAGES)
    assert {"Shape", "Concat"} & {node.op_type for node in folded.graph.node} == set()
    assert np.array_equal(answer(folded.SerializeToString()), answer(content))
    assert answer(folded.SerializeToString(), (IMAGES[0][:0],)).shape == (0, CLASSES)


def test_every_technique_makes_a_file_that_answers_alike() -> None:
    content = images(normal(CHANNELS, 1, 3, 3), normal(4 * CHANNELS, UNITS))
    maker = making.Maker(content, IMAGES)
    for each in RECIPES:
        changed = np.abs(answer(maker.make(each)) - answer(content)).max()
        assert changed < 0.5, each.name
        assert (changed == 0) == (each.technique is Technique.FOLDING), each.name


def looped(gates: np.ndarray) -> bytes:
    """A loop of four steps that hands its weights on and cuts them in each step, as the converter writes an LSTM."""
    node, info = helper.make_node, helper.make_tensor_value_info
    body = helper.make_graph(
        [
            node("Split", ["w"], ["first", "second"], axis=1, num_outputs=2),
            node("MatMul", ["state", "first"], ["a"]),
            node("Tanh", ["a"], ["b"]),
            node("MatMul", ["b", "second"], ["next"]),
            node("Identity", ["w"], ["w_after"]),
            node("Identity", ["go"], ["go_after"]),
        ],
        "body",
        [
            info("step", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("state", TensorProto.FLOAT, [None, 16]),
            info("w", TensorProto.FLOAT, [16, 32]),
        ],
        [
            info("go_after", TensorProto.BOOL, []),
            info("next", TensorProto.FLOAT, [None, 16]),
            info("w_after", TensorProto.FLOAT, [16, 32]),
        ],
    )
    nodes = [node("Loop", ["count", "", "x", "gates"], ["y", "w_last"], body=body)]
    constants = [constant("count", np.array(4)), constant("gates", gates)]
    return model(nodes, constants, ("x", TensorProto.FLOAT, [None, 16]), ("y", TensorProto.FLOAT, [None, 16]))


LOOPED = Signature(
    name="serving_default",
    method="predict",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 16)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 16)),),
)
ROWS = (normal(12, 16),)


def test_a_loop_takes_its_weights_from_outside_and_cuts_them_once() -> None:
    content = looped(normal(16, 32))
    folded = folding.fold(content, ROWS)
    (loop,) = [node for node in folded.graph.node if node.op_type == "Loop"]
    (body,) = [each.g for each in loop.attribute if each.name == "body"]
    assert len(loop.input) == 3
    assert "Split" not in {node.op_type for node in body.node}
    assert np.array_equal(answer(folded.SerializeToString(), ROWS, LOOPED), answer(content, ROWS, LOOPED))


def test_weights_that_a_loop_changes_stay_its_own() -> None:
    loaded = onnx.load_model_from_string(looped(normal(16, 32)))
    (body,) = [each.g for each in loaded.graph.node[0].attribute if each.name == "body"]
    handed_on = next(node for node in body.node if node.output[0] == "w_after")
    handed_on.op_type = "Neg"
    content = loaded.SerializeToString()
    folded = folding.fold(content, ROWS)
    assert len(next(node for node in folded.graph.node if node.op_type == "Loop").input) == 4
    assert np.array_equal(answer(folded.SerializeToString(), ROWS, LOOPED), answer(content, ROWS, LOOPED))


def test_pruned_weights_are_zero_and_clustered_ones_have_few_values() -> None:
    folded = folding.fold(half_dead(), IMAGES)
    for tensor, array in graphs.weights(onnx.load_model_from_string(weights.prune(folded, 70))):
        assert 0.69 < (array == 0).mean() < 0.75, tensor.name
    for tensor, array in graphs.weights(onnx.load_model_from_string(weights.cluster(folded, 16))):
        assert len(np.unique(array)) <= 16, tensor.name


def test_a_model_without_layers_has_no_variants_but_the_folded_one() -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    content = model([node], [], ("x", TensorProto.FLOAT, [None, 16]), ("y", TensorProto.FLOAT, [None, 16]))
    maker = making.Maker(content, ROWS)
    for each in RECIPES:
        if each.technique is not Technique.FOLDING:
            with pytest.raises(graphs.CannotMakeError, match="it has no "):
                maker.make(each)
