"""Dense layers with weights of 8 bits, whose inputs get 8 bits in each call, with a scale for each row.

One scale for a whole tensor, as ONNX Runtime's own tool writes it, lets an outlying row of a request change the answers
to its other rows. Here a row is a vector along the last axis, so each answer depends on its own row alone. The weights
have a scale for each output; both are symmetric, so that the product of whole numbers needs no correction.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Array
from fairlead_runtime.optimization import chains, graphs

INPUT_MAX = 127
LEAST_SCALE = np.float32(1e-30)
"""Of a row of zeros."""
_PREFIX = "fairlead_int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A node of a graph that multiplies by constant weights of [inputs, outputs]."""

    graph: Any
    node: Any
    weights: Array


def quantize(model: Any, weight_max: int) -> bytes:
    """With weights from -weight_max to weight_max; raises CannotMakeError where there is no dense layer."""
    changed = graphs.copy(model)
    constants = _Constants(changed)
    found = list(_find(changed, constants))
    if not found:
        raise graphs.CannotMakeError("it has no dense layer with constant weights")
    for number, layer in enumerate(found):
        _replace(layer, constants, f"{_PREFIX}_{number}", weight_max)
    constants.drop_unused()
    content: bytes = changed.SerializeToString()
    return content


class _Constants:
    """Those of the model and of the graphs within it."""

    def __init__(self, model: Any) -> None:
        self._tools = importlib.import_module("onnx").numpy_helper
        self._graph = model.graph
        self._known = {each.name: each for graph in graphs.graphs(model.graph) for each in graph.initializer}

    def get(self, name: str) -> Array | None:
        tensor = self._known.get(name)
        return None if tensor is None else self._tools.to_array(tensor)

    def add(self, name: str, array: Array) -> str:
        """In the outer graph, from which those within may take it."""
        self._graph.initializer.append(self._tools.from_array(array, name))
        return name

    def drop_unused(self) -> None:
        """Removes the constants that no node takes any more, in each graph."""
        parts = list(graphs.graphs(self._graph))
        used = {name for part in parts for node in part.node for name in node.input}
        used |= {each.name for part in parts for each in part.output}
        for part in parts:
            kept = [type(each).FromString(each.SerializeToString()) for each in part.initializer if each.name in used]
            del part.initializer[:]
            part.initializer.extend(kept)


def _find(model: Any, constants: _Constants) -> Iterator[_Layer]:
    for graph in graphs.graphs(model.graph):
        for node in graph.node:
            if node.op_type not in ("MatMul", "Gemm"):
                continue
            weights = constants.get(node.input[1])
            is_matrix = weights is not None and weights.dtype == np.float32 and weights.ndim == 2
            if weights is None or not is_matrix or weights.size < graphs.WEIGHTS_MIN or not np.isfinite(weights).all():
                continue
            if node.op_type == "MatMul":
                yield _Layer(graph=graph, node=node, weights=weights)
            elif not chains.attribute(node, "transA", 0) and chains.attribute(node, "beta", 1.0) == 1.0:
                oriented = weights.T if chains.attribute(node, "transB", 0) else weights
                scaled = (oriented * np.float32(chains.attribute(node, "alpha", 1.0))).astype(np.float32)
                yield _Layer(graph=graph, node=node, weights=scaled)


def _replace(layer: _Layer, constants: _Constants, name: str, weight_max: int) -> None:
    node = layer.node
    scales = np.maximum(np.abs(layer.weights).max(axis=0) / weight_max, LEAST_SCALE).astype(np.float32)
    whole = np.rint(layer.weights / scales).clip(-weight_max, weight_max).astype(np.int8)
    given = {
        "weights": constants.add(f"{name}_weights", np.ascontiguousarray(whole)),
        "scales": constants.add(f"{name}_scales", scales),
        "axis": constants.add(f"{name}_axis", np.array([-1], dtype=np.int64)),
        "part": constants.add(f"{name}_part", np.array(1 / INPUT_MAX, dtype=np.float32)),
        "least": constants.add(f"{name}_least", np.array(LEAST_SCALE)),
        "nothing": constants.add(f"{name}_nothing", np.array(0, dtype=np.float32)),
        "zero": constants.add(f"{name}_zero", np.array(128, dtype=np.uint8)),
        "middle": constants.add(f"{name}_middle", np.array(128, dtype=np.float32)),
    }
    index = next(i for i, each in enumerate(layer.graph.node) if each.output[0] == node.output[0])
    made = list(_nodes(node, given, name))
    del layer.graph.node[index]
    for place, each in enumerate(made):
        layer.graph.node.insert(index + place, each)


def _nodes(node: Any, given: Mapping[str, str], name: str) -> Iterator[Any]:
    make = importlib.import_module("onnx").helper.make_node
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    result = node.output[0]
    product = f"{name}_product" if bias else result

    def step(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return make(kind, inputs, [output], name=output if output != result else f"{name}_last", **attributes)

    rows = f"{name}_rows"
    yield step("Abs", [node.input[0]], f"{name}_sizes")
    yield step("ReduceMax", [f"{name}_sizes", given["axis"]], f"{name}_largest", keepdims=1)
    yield step("Mul", [f"{name}_largest", given["part"]], f"{name}_steps")
    yield step("Max", [f"{name}_steps", given["least"]], f"{name}_finite")
    # ReduceMax may overlook a NaN, and a cast makes a number of it. Zero times it is NaN, and of numbers nothing.
    yield step("Mul", [node.input[0], given["nothing"]], f"{name}_nothings")
    yield step("ReduceSum", [f"{name}_nothings", given["axis"]], f"{name}_odd", keepdims=1)
    yield step("Add", [f"{name}_finite", f"{name}_odd"], rows)
    yield step("Div", [node.input[0], rows], f"{name}_parts")
    yield step("Add", [f"{name}_parts", given["middle"]], f"{name}_moved")
    yield step("Round", [f"{name}_moved"], f"{name}_rounded")
    yield step("Cast", [f"{name}_rounded"], f"{name}_bytes", to=2)  # uint8
    yield step("MatMulInteger", [f"{name}_bytes", given["weights"], given["zero"]], f"{name}_whole")
    yield step("Cast", [f"{name}_whole"], f"{name}_floats", to=1)  # float32
    yield step("Mul", [f"{name}_floats", given["scales"]], f"{name}_scaled")
    yield step("Mul", [f"{name}_scaled", rows], product)
    if bias:
        yield step("Add", [product, bias], result)
