"""Where whole units of a layer can be left out: from a layer with weights, by nodes that keep units apart, to the next.

A unit is a channel of a convolution or an output of a dense layer. What a node between does must be the same for each
unit, and nothing else may read what is between, as the branch of a residual block does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Array

_UNARY = frozenset(
    {"Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Clip", "Identity", "Softplus"}
)
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_BINARY = frozenset({"Add", "Mul", "Sub", "Div"})
LENGTH_MAX = 16


class Weights:
    """The constants of a model by name, and new ones in place of those that change: a constant may have many users."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tools = importlib.import_module("onnx").numpy_helper
        self._known = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made = 0

    def get(self, name: str) -> Array | None:
        """None for what is no constant."""
        tensor = self._known.get(name)
        return None if tensor is None else self._tools.to_array(tensor)

    def put(self, node: Any, place: int, array: Array) -> None:
        """Gives the node another constant at that place among its inputs."""
        self._made += 1
        name = f"fairlead_pruned_{self._made}"
        tensor = self._tools.from_array(np.ascontiguousarray(array), name)
        self._model.graph.initializer.append(tensor)
        self._known[name] = tensor
        while len(node.input) <= place:
            node.input.append("")
        node.input[place] = name

    def drop_unused(self) -> None:
        """Removes the constants that no node takes any more."""
        used = {name for node in self._model.graph.node for name in node.input}
        kept = [tensor for tensor in self._model.graph.initializer if tensor.name in used]
        copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del self._model.graph.initializer[:]
        self._model.graph.initializer.extend(copies)


@dataclass(slots=True, kw_only=True)
class Place:
    """Where the units are in a tensor: along `axis` of `rank`, element i belonging to the unit `units[i]`."""

    axis: int
    rank: int
    units: Array


@dataclass(slots=True, kw_only=True)
class Chain:
    """`first` makes the units and `last` takes them, by the tensor `hidden`; `between` has the place behind each node.

    Nodes are named by their index in the graph, which is the same in a copy of the model.
    """

    first: int
    last: int
    hidden: str
    count: int
    place: Place
    between: Sequence[tuple[int, Place]] = field(default_factory=tuple)


def find(model: Any) -> Sequence[Chain]:
    """All of a model, in the order of its nodes."""
    weights = Weights(model)
    users: dict[str, list[int]] = {}
    for index, node in enumerate(model.graph.node):
        for name in node.input:
            users.setdefault(name, []).append(index)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                # What a loop takes from outside isn't among its inputs.
                for inner in attribute.g.node:
                    for name in inner.input:
                        users.setdefault(name, []).extend([index, index])
    outputs = {each.name for each in model.graph.output}
    starts = ((index, start_of(node, weights)) for index, node in enumerate(model.graph.node))
    found = (_follow(model, index, place, weights, users, outputs) for index, place in starts if place is not None)
    return [chain for chain in found if chain is not None]


def start_of(node: Any, weights: Weights) -> Place | None:
    """The place of the units that a layer makes; None for what is no layer with weights."""
    array = weights.get(node.input[1]) if len(node.input) > 1 else None
    if array is None or array.dtype != np.float32:
        return None
    if node.op_type == "Conv" and attribute(node, "group", 1) == 1:
        return Place(axis=1, rank=array.ndim, units=np.arange(array.shape[0]))
    if node.op_type == "MatMul" and array.ndim == 2:
        return Place(axis=-1, rank=0, units=np.arange(array.shape[1]))
    if node.op_type == "Gemm" and not attribute(node, "transA", 0):
        return Place(axis=1, rank=2, units=np.arange(array.shape[0 if attribute(node, "transB", 0) else 1]))
    return None


def takes(node: Any, tensor: str, place: Place, weights: Weights) -> bool:
    """Whether the node is a layer whose weights are for the units of the tensor."""
    if start_of(node, weights) is None or node.input[0] != tensor:
        return False
    if node.op_type == "Conv":
        return place.axis == 1 and place.rank > 2
    return place.axis in (-1, place.rank - 1)


def attribute(node: Any, name: str, default: Any) -> Any:
    """Of a node, as a Python value."""
    helper = importlib.import_module("onnx").helper
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _follow(
    model: Any, first: int, place: Place, weights: Weights, users: Mapping[str, list[int]], outputs: set[str]
) -> Chain | None:
    count = len(place.units)
    between: list[tuple[int, Place]] = []
    tensor = model.graph.node[first].output[0]
    for _ in range(LENGTH_MAX):
        if tensor in outputs or len(users.get(tensor, ())) != 1:
            return None
        (index,) = users[tensor]
        node = model.graph.node[index]
        if takes(node, tensor, place, weights):
            return Chain(first=first, last=index, hidden=tensor, count=count, place=place, between=tuple(between))
        behind = _behind(node, tensor, place, weights)
        if behind is None:
            return None
        between.append((index, behind))
        tensor, place = node.output[0], behind
    return None


def _behind(node: Any, tensor: str, place: Place, weights: Weights) -> Place | None:
    """The place of the units behind a node; None if it may mix them, or isn't known."""
    if node.op_type in _UNARY:
        return place if node.input[0] == tensor else None
    if node.op_type in _BINARY:
        return _behind_binary(node, tensor, place, weights)
    if node.op_type in _POOLS:
        return place if place.axis == 1 and place.rank > 2 and len(node.output) == 1 else None
    if node.op_type == "Conv":
        return _behind_depthwise(node, tensor, place, weights)
    if node.op_type == "BatchNormalization":
        constants = [weights.get(name) for name in node.input[1:]]
        has_all = all(each is not None and each.shape == place.units.shape for each in constants)
        return place if has_all and place.axis == 1 and len(node.output) == 1 else None
    return _behind_moved(node, tensor, place, weights)


def _behind_binary(node: Any, tensor: str, place: Place, weights: Weights) -> Place | None:
    other = 1 if node.input[0] == tensor else 0
    array = weights.get(node.input[other])
    if array is None:
        return None
    if array.size == 1:
        return place if array.ndim <= max(place.rank, 1) else None
    from_end = axis_from_end(place)
    if array.ndim < from_end or (place.rank and array.ndim > place.rank):
        return None
    # Where the constant has one number for all units it stays; where it has one for each, it loses some.
    return place if array.shape[-from_end] in (1, len(place.units)) else None


def axis_from_end(place: Place) -> int:
    """The axis of the units, counted from the last one, which is 1."""
    return 1 if place.axis == -1 else place.rank - place.axis


def _behind_depthwise(node: Any, tensor: str, place: Place, weights: Weights) -> Place | None:
    array = weights.get(node.input[1])
    count = len(place.units)
    is_depthwise = array is not None and array.shape[:2] == (count, 1) and attribute(node, "group", 1) == count
    return place if is_depthwise and place.axis == 1 and node.input[0] == tensor else None


def _behind_moved(node: Any, tensor: str, place: Place, weights: Weights) -> Place | None:
    if node.input[0] != tensor or place.rank == 0:
        return None
    if node.op_type == "Transpose":
        order = list(attribute(node, "perm", range(place.rank - 1, -1, -1)))
        return Place(axis=order.index(place.axis), rank=place.rank, units=place.units)
    if node.op_type == "Reshape":
        shape = weights.get(node.input[1])
        return _flat(place, shape) if shape is not None else None
    if node.op_type in ("Squeeze", "ReduceMean"):
        return _behind_reduced(node, place, weights)
    return None


def _flat(place: Place, shape: Array) -> Place | None:
    """Behind a reshape to [rows, features], where each unit has the same number of features."""
    if shape.shape != (2,) or shape[0] not in (-1, 0) or place.axis == 0:
        return None
    count, features = len(place.units), int(shape[1])
    if features <= 0 or features % count:
        return None
    if place.axis == place.rank - 1:
        return Place(axis=1, rank=2, units=np.tile(place.units, features // count))
    return Place(axis=1, rank=2, units=np.repeat(place.units, features // count)) if place.axis == 1 else None


def _behind_reduced(node: Any, place: Place, weights: Weights) -> Place | None:
    given = attribute(node, "axes", None)
    if given is None and len(node.input) > 1:
        given = weights.get(node.input[1])
    if given is None:
        return None
    axes = {int(axis) % place.rank for axis in given}
    if place.axis in axes:
        return None
    if node.op_type == "ReduceMean" and attribute(node, "keepdims", 1):
        return place
    gone = sum(axis < place.axis for axis in axes)
    return Place(axis=place.axis - gone, rank=place.rank - len(axes), units=place.units)
