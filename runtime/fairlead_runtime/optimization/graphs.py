"""A converted model as a graph that variants are made from: constants folded, its weights as initializers."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_runtime.model.onnx.predictor import CannotOpenError, first_sentence
from fairlead_runtime.model.predictor import Array, Tensors

WEIGHTS_MIN = 256
"""A tensor with fewer numbers is left alone: a bias, a scale, a table of shapes."""


class CannotMakeError(Exception):
    """A variant can't be made of this model; the text is a part of a sentence."""


def simplify(content: bytes) -> Any:
    """The model with constants folded and simple nodes fused, by ONNX Runtime; raises CannotOpenError."""
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    with tempfile.TemporaryDirectory(prefix="fairlead-graph-") as folder:
        path = Path(folder, "model.onnx")
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        try:
            runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except (errors.InvalidGraph, errors.Fail, errors.RuntimeException, errors.NotImplemented) as error:
            raise CannotOpenError(first_sentence(str(error))) from None
        return onnx.load_model_from_string(path.read_bytes())


def run(model: Any, shown: Sequence[str], inputs: Tensors, wanted: Sequence[str]) -> Sequence[Array]:
    """The tensors within the model that are `wanted`, which are among those `shown`; raises CannotMakeError."""
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    other = copy(model)
    known = {each.name for each in other.graph.output} | {each.name for each in other.graph.input}
    more = [onnx.helper.make_empty_tensor_value_info(name) for name in shown if name not in known]
    other.graph.output.extend(more)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    names = [each.name for each in model.graph.input]
    given = dict(zip(names, inputs, strict=True))
    try:
        session = runtime.InferenceSession(other.SerializeToString(), options, providers=["CPUExecutionProvider"])
        asked = [name for name in wanted if name not in given]
        found = dict(given)
        if asked:  # no names would stand for all outputs
            found.update(zip(asked, session.run(asked, given), strict=True))
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.RuntimeException) as error:
        raise CannotMakeError(f"its layers can't be observed: {first_sentence(str(error))}") from None
    return [found[name] for name in wanted]


def copy(model: Any) -> Any:
    """Another one that may be changed."""
    other = type(model)()
    other.CopyFrom(model)
    return other


def graphs(graph: Any) -> Iterator[Any]:
    """The graph and those within its nodes, as a loop has one."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def weights(model: Any) -> Iterator[tuple[Any, Array]]:
    """The tensors of the model that hold many floats in at least two dimensions, each as a message and an array."""
    onnx = importlib.import_module("onnx")
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
                array = onnx.numpy_helper.to_array(tensor)
                if array.size >= WEIGHTS_MIN:
                    yield tensor, array


def replace(tensor: Any, array: Array) -> None:
    """Gives the tensor other numbers, under its name."""
    onnx = importlib.import_module("onnx")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
