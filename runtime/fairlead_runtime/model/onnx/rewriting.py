"""What is changed in a converted graph before ONNX Runtime gets it.

Negative indices are refused by a table, and mark nothing in a OneHot, as by TensorFlow: ONNX counts them from the end.
Keras' embeddings count from the end by themselves, and a second time would reach back twice as far. And Erfc, which
ONNX doesn't have and an exact Gelu needs, becomes 1 - Erf.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Set
from itertools import count
from typing import Any

# By the type of a node, the place of its indices among its inputs.
_INDICES = {"Gather": 1, "GatherND": 1, "GatherElements": 1, "OneHot": 0}
_NOWHERE = 2**31 - 1


def rewrite(graph: Any) -> None:
    """Changes the graph and those within its nodes."""
    onnx = importlib.import_module("onnx")
    _rewrite(graph, onnx, (f"fairlead_{number}" for number in count()))


def _rewrite(graph: Any, onnx: Any, names: Iterator[str]) -> None:
    constants = {each.name for each in graph.initializer}
    constants.update(name for node in graph.node if node.op_type == "Constant" for name in node.output)
    made: list[Any] = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rewrite(attribute.g, onnx, names)
        made.extend(_replaced(node, onnx, constants, names))
    copies = [type(node).FromString(node.SerializeToString()) for node in made]
    del graph.node[:]
    graph.node.extend(copies)


def _replaced(node: Any, onnx: Any, constants: Set[str], names: Iterator[str]) -> list[Any]:
    if node.op_type == "Erfc":
        return _erfc(node, onnx, next(names))
    place = _INDICES.get(node.op_type)
    if place is not None and node.input[place] not in constants:
        return [*_check_indices(node, place, onnx, next(names)), node]
    return [node]


def _erfc(node: Any, onnx: Any, name: str) -> list[Any]:
    make_node = onnx.helper.make_node
    one = onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, [], [1.0])
    return [
        make_node("Erf", list(node.input), [f"{name}_erf"]),
        make_node("Constant", [], [f"{name}_one"], value=one),
        make_node("CastLike", [f"{name}_one", f"{name}_erf"], [f"{name}_typed"]),
        make_node("Sub", [f"{name}_typed", f"{name}_erf"], list(node.output), name=name),
    ]


def _check_indices(node: Any, place: int, onnx: Any, name: str) -> list[Any]:
    """Nodes that give an index that is nowhere in place of each negative one, in 64 bits, which every index fits."""
    make_node, int64 = onnx.helper.make_node, onnx.TensorProto.INT64
    zero, nowhere = (onnx.helper.make_tensor("", int64, [], [value]) for value in (0, _NOWHERE))
    given, node.input[place] = node.input[place], f"{name}_checked"
    return [
        make_node("Cast", [given], [f"{name}_wide"], to=int64),
        make_node("Constant", [], [f"{name}_zero"], value=zero),
        make_node("Constant", [], [f"{name}_nowhere"], value=nowhere),
        make_node("Less", [f"{name}_wide", f"{name}_zero"], [f"{name}_negative"]),
        make_node("Where", [f"{name}_negative", f"{name}_nowhere", f"{name}_wide"], [f"{name}_checked"], name=name),
    ]
