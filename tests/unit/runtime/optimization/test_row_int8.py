"""8 bits with a scale for each row: an answer depends on its own row, whatever is beside it in the request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime import quantization
from tests.support import small_onnx

from fairlead_runtime.model import merging
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.predictor import LoadedModel, Predictor
from fairlead_runtime.optimization import graphs, quantizing, row_int8, row_proof

pytestmark = pytest.mark.filterwarnings("ignore")


def opened(content: bytes) -> Predictor:
    return predictor.open_model(content, small_onnx.SIGNATURE, threads=1)


def whole_tensor(content: bytes, folder: Path) -> bytes:
    """As ONNX Runtime's own tool writes it: one scale for all rows of a call."""
    source, target = folder / "source.onnx", folder / "target.onnx"
    source.write_bytes(content)
    kind = quantization.QuantType.QInt8
    quantization.quantize_dynamic(str(source), str(target), weight_type=kind, op_types_to_quantize=["MatMul"])
    return target.read_bytes()


def by_rows(content: bytes) -> bytes:
    return quantizing.quantize_dynamic(onnx.load_model_from_string(content))


def test_an_outlying_row_changes_no_answer_to_another_row() -> None:
    model = opened(by_rows(small_onnx.two_layers()))
    rows = small_onnx.rows(9)
    alone = model((rows[:8],))[0]
    rows[8] *= 1e6
    assert np.array_equal(model((rows,))[0][:8], alone)
    for index in range(8):
        assert np.array_equal(model((rows[index : index + 1],))[0][0], alone[index])


def test_the_answers_are_close_to_those_of_floats() -> None:
    content = small_onnx.two_layers()
    made = by_rows(content)
    for factor in (1e-6, 1.0, 3.0):
        rows = small_onnx.rows() * np.float32(factor)
        assert np.abs(small_onnx.answered(made, rows) - small_onnx.answered(content, rows)).max() < 0.1
    kinds = {tensor.data_type for tensor in onnx.load_model_from_string(made).graph.initializer if len(tensor.dims) > 1}
    assert kinds == {onnx.TensorProto.INT8}


def test_rows_of_zeros_and_no_rows_are_answered() -> None:
    content = small_onnx.two_layers()
    made = by_rows(content)
    zeros = np.zeros((2, small_onnx.FEATURES), dtype=np.float32)
    assert np.allclose(small_onnx.answered(made, zeros), small_onnx.answered(content, zeros), atol=1e-6)
    assert small_onnx.answered(made, zeros[:0]).shape == (0, small_onnx.CLASSES)


@pytest.mark.parametrize("column", [0, 3, -1])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_stays_in_its_row_and_is_seen_there(odd: float, column: int) -> None:
    rows = small_onnx.rows(3)
    expected = small_onnx.answered(by_rows(small_onnx.two_layers()), rows)
    rows[1, column] = odd
    found = small_onnx.answered(by_rows(small_onnx.two_layers()), rows)
    assert np.array_equal(found[[0, 2]], expected[[0, 2]])
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("attributes", "bias"), [({"transB": 1}, True), ({"alpha": 0.5}, True), ({}, False), ({"beta": 2.0}, True)]
)
def test_other_forms_of_a_dense_layer(attributes: dict[str, float], bias: bool) -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=(small_onnx.FEATURES, small_onnx.UNITS)).astype(np.float32)
    constants = {
        "first": np.ascontiguousarray(first.T) if "transB" in attributes else first,
        "bias": generator.normal(size=small_onnx.UNITS).astype(np.float32),
        "second": generator.normal(size=(small_onnx.UNITS, small_onnx.CLASSES)).astype(np.float32) / 10,
    }
    inputs = ["x", "first", "bias"] if bias else ["x", "first"]
    nodes = [helper.make_node("Gemm", inputs, ["a"], **attributes), helper.make_node("MatMul", ["a", "second"], ["y"])]
    content = small_onnx.model(nodes, constants)
    expected, found = (small_onnx.answered(each, small_onnx.rows()) for each in (content, by_rows(content)))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_layer_within_a_loop_is_quantized_and_its_float_weights_go() -> None:
    info = helper.make_tensor_value_info
    float32, size = onnx.TensorProto.FLOAT, small_onnx.FEATURES
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["a"]),
            helper.make_node("Tanh", ["a"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [info("step", 7, []), info("go", 9, []), info("state", float32, [None, size])],
        [info("on", 9, []), info("next", float32, [None, size])],
    )
    nodes = [
        helper.make_node("Loop", ["count", "", "x"], ["last"], body=body),
        helper.make_node("MatMul", ["last", "second"], ["y"]),
    ]
    generator = np.random.default_rng(2)
    constants = {
        "count": np.array(4),
        "w": generator.normal(0, 0.3, (size, size)).astype(np.float32),
        "second": generator.normal(0, 0.3, (size, small_onnx.CLASSES)).astype(np.float32),
    }
    content = small_onnx.model(nodes, constants)
    made = by_rows(content)
    expected, found = (small_onnx.answered(each, small_onnx.rows()) for each in (content, made))
    assert 0 < np.abs(found - expected).max() < 0.1
    left = [tensor.name for tensor, _ in graphs.weights(onnx.load_model_from_string(made))]
    assert left == []


def test_a_model_without_a_dense_layer_cannot_be_made() -> None:
    node = helper.make_node("ReduceMax", ["x"], ["y"], keepdims=1)
    content = small_onnx.model([node], {})
    with pytest.raises(graphs.CannotMakeError, match="it has no dense layer"):
        row_int8.quantize(onnx.load_model_from_string(content), 127)


def test_one_scale_for_a_whole_tensor_is_found_out(tmp_path: Path) -> None:
    content = small_onnx.two_layers()
    base = opened(content)
    rows = (small_onnx.rows(),)
    why = row_proof.describe(base, opened(whole_tensor(content, tmp_path)), rows)
    assert why is not None
    assert why.startswith("an outlying row of a request changes an answer to its other rows by 0.")
    assert row_proof.describe(base, opened(by_rows(content)), rows) is None
    assert row_proof.describe(base, base, rows) is None


def test_rows_that_depend_on_each_other_in_the_float_model_prove_nothing() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x", "axis"], ["top"], keepdims=1),
        helper.make_node("Sub", ["x", "top"], ["z"]),
        helper.make_node("MatMul", ["z", "w"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(size=(small_onnx.FEATURES, small_onnx.CLASSES)).astype(np.float32)
    base = opened(small_onnx.model(nodes, {"axis": np.array([0]), "w": weights}))
    assert row_proof.describe(base, base, (small_onnx.rows(),)) is None


def test_calls_of_such_a_variant_are_shared_between_clients(tmp_path: Path) -> None:
    content = small_onnx.two_layers()
    for made, is_proved in ((by_rows(content), True), (whole_tensor(content, tmp_path), False)):
        model = LoadedModel(signature=small_onnx.SIGNATURE, predictor=opened(made), kind="ONNX Runtime", folder=None)
        proof = merging.prove(model, single_s=0.001)
        assert proof.is_proved is is_proved, proof.why
