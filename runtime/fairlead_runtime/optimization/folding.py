"""What a model computes again in each call, or in each step of a loop, although the result is always the same.

The converter passes the weights of an LSTM through the loop as if they could change, so that each step cuts them into
the matrices of its gates; and it computes the shape of a flattened image from that of the image. Both become constants.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.optimization import graphs

OBSERVED_ROWS = (1, 3)


def fold(content: bytes, calibration: Tensors) -> Any:
    """The model with fewer nodes; raises CannotOpenError."""
    model = graphs.simplify(content)
    for node in model.graph.node:
        if node.op_type == "Loop":
            _free_constants(model.graph, node)
    _remove_unused(model.graph)
    model = graphs.simplify(model.SerializeToString())
    _fix_shapes(model, calibration)
    _remove_unused(model.graph)
    return model


def _free_constants(graph: Any, loop: Any) -> None:
    """What the loop hands on unchanged, and is a constant outside, its steps take from outside."""
    body = next(each.g for each in loop.attribute if each.name == "body")
    constants = {tensor.name for tensor in graph.initializer}
    aliases = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    count = len(body.input) - 2
    kept, renamed, outside = [], {}, {}
    for index in range(count):
        given, inner, after = loop.input[2 + index], body.input[2 + index].name, body.output[1 + index].name
        while after in aliases:
            after = aliases[after]
        if given in constants and after == inner:
            renamed[inner] = given
            outside[loop.output[index]] = given
        else:
            kept.append(index)
    if not renamed:
        return
    for inside in graphs.graphs(body):
        _rename(inside, renamed)
    _rename(graph, outside)
    scans = range(count, len(loop.output))
    _keep(loop.input, [0, 1, *(2 + index for index in kept)])
    _keep(body.input, [0, 1, *(2 + index for index in kept)])
    _keep(body.output, [0, *(1 + index for index in kept), *(1 + index for index in scans)])
    _keep(loop.output, [*kept, *scans])


def _keep(repeated: Any, indexes: Sequence[int]) -> None:
    copies = [each if isinstance(each, str) else type(each).FromString(each.SerializeToString()) for each in repeated]
    del repeated[:]
    repeated.extend(copies[index] for index in indexes)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]


def _fix_shapes(model: Any, calibration: Tensors) -> None:
    """A reshape to [rows, features] that the next layer has as many weights for gets that shape as a constant."""
    onnx = importlib.import_module("onnx")
    features = dict(_flattened(model))
    if not features:
        return
    nodes = [node for node in model.graph.node if node.op_type == "Reshape" and node.output[0] in features]
    names = [name for node in nodes for name in (node.input[0], node.output[0])]
    observed = [_shapes(model, names, tuple(array[:rows] for array in calibration)) for rows in OBSERVED_ROWS]
    for number, node in enumerate(nodes):
        count = features[node.output[0]]
        pairs = [(shapes[2 * number], shapes[2 * number + 1]) for shapes in observed if shapes]
        if pairs and all(math.prod(before[1:]) == count and after == (before[0], count) for before, after in pairs):
            name = f"fairlead_flat_{number}"
            # 0 is for the size that the tensor has, also where it has no rows.
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, count], dtype=np.int64), name))
            node.input[1] = name


def _flattened(model: Any) -> Iterator[tuple[str, int]]:
    """The tensors that a layer takes, and the number of features that it has weights for."""
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        dims = weights.get(node.input[1], []) if node.op_type in ("MatMul", "Gemm") else []
        if len(dims) == 2:
            is_transposed = any(each.name == "transB" and each.i for each in node.attribute)
            yield node.input[0], dims[1 if is_transposed else 0]


def _shapes(model: Any, names: Sequence[str], inputs: Tensors) -> Sequence[tuple[int, ...]]:
    """Of the tensors with these names for such an input; none where the model doesn't answer it."""
    try:
        return [array.shape for array in graphs.run(model, list(dict.fromkeys(names)), inputs, names)]
    except graphs.CannotMakeError:
        return []


def _remove_unused(graph: Any) -> None:
    """Nodes and constants whose results nothing takes."""
    while True:
        used = {each.name for each in graph.output}
        used.update(name for part in graphs.graphs(graph) for node in part.node for name in node.input)
        used.update(each.name for part in graphs.graphs(graph) for each in part.output)
        kept = [index for index, node in enumerate(graph.node) if any(name in used for name in node.output)]
        if len(kept) == len(graph.node):
            break
        _keep(graph.node, kept)
    _keep(graph.initializer, [index for index, tensor in enumerate(graph.initializer) if tensor.name in used])
