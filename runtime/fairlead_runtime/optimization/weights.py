"""Variants with the same layers and other weights: small ones set to zero, or all of a tensor drawn to a few values.

No kernel of ONNX Runtime makes use of that: calls take as long as before. The compressed file is smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Array
from fairlead_runtime.optimization import graphs

_ROUNDS = 12


def prune(model: Any, percent: int) -> bytes:
    """Sets so many percent of each tensor's weights to zero, those nearest to it; raises CannotMakeError."""
    changed = graphs.copy(model)
    found = list(graphs.weights(changed))
    if not found:
        raise graphs.CannotMakeError("it has no layer with weights")
    for tensor, array in found:
        sizes: Array = np.abs(array)
        limit = np.partition(sizes.reshape(-1), array.size * percent // 100)[array.size * percent // 100]
        graphs.replace(tensor, np.where(sizes < limit, np.float32(0), array))
    content: bytes = changed.SerializeToString()
    return content


def cluster(model: Any, count: int) -> bytes:
    """Draws the weights of each tensor to `count` values, found by k-means; raises CannotMakeError."""
    changed = graphs.copy(model)
    found = list(graphs.weights(changed))
    if not found:
        raise graphs.CannotMakeError("it has no layer with weights")
    for tensor, array in found:
        graphs.replace(tensor, _drawn(array, count))
    content: bytes = changed.SerializeToString()
    return content


def _drawn(array: Array, count: int) -> Array:
    """Lloyd's rounds over sorted numbers, where each cluster is an interval. Sums of a sorted array give its mean."""
    flat = array.reshape(-1).astype(np.float64)
    if not np.isfinite(flat).all():
        return array
    ordered = np.sort(flat)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        starts, ends = np.concatenate([[0], ends]), np.concatenate([ends, [len(ordered)]])
        sizes = ends - starts
        means = (sums[ends] - sums[starts]) / np.maximum(sizes, 1)
        centres = np.sort(np.where(sizes > 0, means, centres))
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, flat)
    drawn: Array = centres[nearest].astype(np.float32).reshape(array.shape)
    return drawn
