"""An opened model holds its weights once."""

from __future__ import annotations

import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

SIZE = 16
SIGNATURE = Signature(
    name="serving_default",
    method="predict",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, SIZE)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, SIZE)),),
)


def file() -> bytes:
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, SIZE])] for name in "xy")
    constants = [numpy_helper.from_array(np.eye(SIZE, dtype=np.float32), "w")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def test_an_open_model_does_not_keep_the_file_beside_its_weights() -> None:
    content = file()
    before = sys.getrefcount(content)
    opened = predictor.open_model(content, SIGNATURE, threads=1)
    assert sys.getrefcount(content) == before
    rows = np.ones((2, SIZE), dtype=np.float32)
    assert np.array_equal(opened((rows,))[0], rows)
