"""Variants with smaller layers: the units that vary least in what they give to the next layer are left out.

A unit that is left out counts as its mean over the calibration rows, which goes into the bias of the next layer. That
is the only pruning that saves time: the layers are smaller, and any engine calls them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.optimization import chains, graphs

BATCH_ROWS = 8
UNITS_MIN = 8
"""A layer with fewer units is left alone, and so many are always left."""
MULTIPLE = 8
"""Kernels work on so many numbers at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and variance of each element along the axis of the units, over the calibration rows."""

    mean: Array
    variance: Array


def observe(model: Any, found: Sequence[chains.Chain], calibration: Tensors) -> Mapping[str, Moments]:
    """What the tensors before the last layers hold; raises CannotMakeError."""
    names = [chain.hidden for chain in found]
    sums: dict[str, tuple[int, Any, Any]] = dict.fromkeys(names, (0, 0.0, 0.0))
    for start in range(0, len(calibration[0]), BATCH_ROWS):
        part = tuple(array[start : start + BATCH_ROWS] for array in calibration)
        for chain, array in zip(found, graphs.run(model, names, part, names), strict=True):
            sums[chain.hidden] = _add(sums[chain.hidden], array, chain.place)
    return {name: _moments(*each) for name, each in sums.items()}


def _add(sums: tuple[int, Any, Any], array: Array, place: chains.Place) -> tuple[int, Any, Any]:
    axis = array.ndim - chains.axis_from_end(place)
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
    return sums[0] + len(rows), sums[1] + rows.sum(axis=0), sums[2] + (rows * rows).sum(axis=0)


def _moments(count: int, total: Array, squares: Array) -> Moments:
    mean = total / count
    return Moments(mean=mean, variance=np.maximum(squares / count - mean * mean, 0))


def prune(model: Any, found: Sequence[chains.Chain], moments: Mapping[str, Moments], percent: int) -> bytes:
    """Leaves out so many percent of the units of each chain; raises CannotMakeError."""
    changed = graphs.copy(model)
    weights = chains.Weights(changed)
    # Nodes are taken by their index before a bias is put behind one.
    nodes = list(changed.graph.node)
    biases: list[tuple[int, Array]] = []
    kept: dict[int, Array] = {}
    for chain in found:
        kept_count = _kept_count(chain.count, percent)
        observed = moments[chain.hidden]
        if kept_count >= chain.count or not np.isfinite(observed.mean).all():
            continue
        last = nodes[chain.last]
        effects = _effects(last, weights)
        importance = np.bincount(chain.place.units, observed.variance * (effects**2).sum(axis=0), chain.count)
        keep = np.sort(np.argsort(-importance, kind="stable")[:kept_count])
        kept[chain.first] = keep
        gone = ~np.isin(chain.place.units, keep)
        biases.append((chain.last, (effects[:, gone] @ observed.mean[gone]).astype(np.float32)))
        _shrink_first(nodes[chain.first], keep, weights)
        for index, place in chain.between:
            _shrink_between(nodes[index], place, keep, weights)
        _shrink_last(last, ~gone, weights)
    if not kept:
        raise graphs.CannotMakeError("it has no pair of layers whose units can be left out")
    for index, bias in biases:
        # The layer may have lost units of its own since.
        _add_bias(changed, nodes[index], bias[kept[index]] if index in kept else bias, weights)
    weights.drop_unused()
    del changed.graph.value_info[:]
    content: bytes = changed.SerializeToString()
    return content


def _kept_count(count: int, percent: int) -> int:
    kept = count * (100 - percent) / 100
    multiple = MULTIPLE if count >= 2 * MULTIPLE else 1
    return max(UNITS_MIN, math.ceil(kept / multiple) * multiple)


def _matrix(node: Any, weights: chains.Weights) -> Array:
    """The weights of a layer."""
    array = weights.get(node.input[1])
    if array is None:
        raise graphs.CannotMakeError("a layer lost its weights")
    return array


def _is_transposed(node: Any) -> bool:
    """Whether the weights are [outputs, inputs]."""
    return node.op_type == "Conv" or (node.op_type == "Gemm" and bool(chains.attribute(node, "transB", 0)))


def _effects(node: Any, weights: chains.Weights) -> Array:
    """[outputs, inputs] of the layer: the change of an output with an input, for a convolution in all its places."""
    array = _matrix(node, weights).astype(np.float64)
    if node.op_type == "Conv":
        summed: Array = array.reshape(*array.shape[:2], -1).sum(axis=2)
        return summed
    scale = chains.attribute(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0
    found: Array = scale * (array if _is_transposed(node) else array.T)
    return found


def _shrink_first(node: Any, keep: Array, weights: chains.Weights) -> None:
    weights.put(node, 1, np.take(_matrix(node, weights), keep, axis=0 if _is_transposed(node) else 1))
    bias = weights.get(node.input[2]) if len(node.input) > 2 else None
    if bias is not None and bias.ndim and bias.shape[-1] > 1:
        weights.put(node, 2, np.take(bias, keep, axis=-1))


def _shrink_last(node: Any, kept: Array, weights: chains.Weights) -> None:
    weights.put(node, 1, np.compress(kept, _matrix(node, weights), axis=1 if _is_transposed(node) else 0))


def _shrink_between(node: Any, place: chains.Place, keep: Array, weights: chains.Weights) -> None:
    match node.op_type:
        case "Reshape":
            features = int(np.isin(place.units, keep).sum())
            weights.put(node, 1, np.array([-1, features], dtype=np.int64))
        case "BatchNormalization":
            _take(node, range(1, 5), keep, weights)
        case "Conv":
            _take(node, range(1, len(node.input)), keep, weights)
            for each in node.attribute:
                if each.name == "group":
                    each.i = len(keep)
        case "Add" | "Mul" | "Sub" | "Div":
            elements = np.flatnonzero(np.isin(place.units, keep))
            from_end = chains.axis_from_end(place)
            for index, name in enumerate(node.input):
                array = weights.get(name)
                if array is not None and array.ndim >= from_end and array.shape[-from_end] == len(place.units) > 1:
                    weights.put(node, index, np.take(array, elements, axis=-from_end))
        case _:
            pass


def _take(node: Any, indexes: range, keep: Array, weights: chains.Weights) -> None:
    for index in indexes:
        array = weights.get(node.input[index])
        if array is not None:
            weights.put(node, index, np.take(array, keep, axis=0))


def _add_bias(model: Any, node: Any, bias: Array, weights: chains.Weights) -> None:
    """What the units that were left out gave on average."""
    before = weights.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if node.op_type == "Gemm":
        bias = bias / np.float32(chains.attribute(node, "beta", 1.0) or 1.0)
    if before is not None:
        weights.put(node, 2, (before + bias).astype(np.float32))
    elif node.op_type != "MatMul":
        weights.put(node, 2, bias)
    else:
        onnx = importlib.import_module("onnx")
        output = node.output[0]
        node.output[0] = f"{output}_before_bias"
        added = onnx.helper.make_node("Add", [node.output[0], ""], [output])
        weights.put(added, 1, bias)
        index = next(i for i, each in enumerate(model.graph.node) if each.output[:1] == node.output[:1])
        model.graph.node.insert(index + 1, added)
