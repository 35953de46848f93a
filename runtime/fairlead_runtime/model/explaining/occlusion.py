"""Occlusion: by how much a score falls where a part of the input is left out. Any model can be explained so.

Source: Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, 2014, https://arxiv.org/abs/1311.2901,
section 4.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from fairlead_runtime.model.explaining.work import Work
from fairlead_runtime.model.predictor import Array

CHANNELS_MAX = 4
"""Of an image, as its first or its last dimension."""

Score = Callable[[Array], Array]
"""The scores of one class, float64 of shape [rows], for rows of the input."""

_WORD = re.compile(r"\S+")


def attribute(score: Score, row: Array, baseline: Array, work: Work, *, regions_max: int) -> Array:
    """The fall of the score for each of at most `regions_max` regions, shared equally among the region's elements.

    `row` and `baseline` have the shape [1, ...], and so have the attributions, as float64. A region that is equal to
    its baseline has 0.
    """
    regions = split(row.shape[1:], regions_max)
    falls = np.zeros(int(regions.max()) + 1)
    differs = (row != baseline)[0]
    numbers = np.unique(regions[differs])
    whole = float(score(row)[0])
    for part in work.parts(len(numbers), elements=row.size):
        chosen = numbers[part]
        is_left_out = regions[np.newaxis] == chosen.reshape(-1, *[1] * regions.ndim)
        falls[chosen] = whole - score(np.where(is_left_out, baseline, row))
    changed = np.bincount(regions[differs], minlength=len(falls))
    return np.where(differs, (falls / np.maximum(changed, 1))[regions], 0.0)[np.newaxis]


def split(shape: Sequence[int], regions_max: int) -> Array:
    """The number of each element's region, from 0: a grid over an image's sides, or else over the first two dimensions.

    The elements of a region are neighbours. There are at most `regions_max` regions, and at most as many as elements.
    """
    axes = _axes(shape)
    numbers = np.zeros(shape, dtype=np.int64)
    counts = _counts([shape[axis] for axis in axes], regions_max)
    for axis, count in zip(axes, counts, strict=True):
        size = shape[axis]
        along = np.arange(size) * count // size
        numbers = numbers * count + along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return numbers


def _axes(shape: Sequence[int]) -> list[int]:
    """The dimensions that are cut."""
    if len(shape) == 3 and shape[0] <= CHANNELS_MAX < shape[2]:
        return [1, 2]
    return list(range(min(2, len(shape))))


def _counts(sizes: Sequence[int], regions_max: int) -> list[int]:
    """Into how many parts each dimension is cut, so that the parts are about as long in each."""
    if not sizes:
        return []
    edge = (math.prod(sizes) / regions_max) ** (1 / len(sizes))
    counts = [max(1, min(size, math.floor(size / max(edge, 1.0) + 1e-9))) for size in sizes]
    while math.prod(counts) > regions_max:
        # A dimension of one part can make the others too fine.
        counts[int(np.argmax(counts))] -= 1
    return counts


def words(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends; words are what spaces part."""
    return [found.span() for found in _WORD.finditer(text)]


def attribute_words(score: Score, text: str, work: Work, *, shape: Sequence[int], regions_max: int) -> Array:
    """The fall of the score for each word of a text that is left out, float64 of shape [words].

    Of more than `regions_max` words, neighbours are left out together and share the fall equally. `shape` is that of
    one row, [1, ...], with one string.
    """
    spans = words(text)
    groups = np.arange(len(spans)) * min(regions_max, len(spans)) // len(spans)
    whole = float(score(_texts([text], shape))[0])
    falls = np.zeros(int(groups.max()) + 1)
    for part in work.parts(len(falls), elements=max(1, len(text))):
        shorter = [_leave_out(text, spans, groups == group) for group in range(part.start, part.stop)]
        falls[part] = whole - score(_texts(shorter, shape))
    return np.asarray((falls / np.bincount(groups))[groups])


def _leave_out(text: str, spans: Sequence[tuple[int, int]], is_left_out: Array) -> str:
    kept = [text[start:end] for (start, end), out in zip(spans, is_left_out, strict=True) if not out]
    return " ".join(kept)


def _texts(texts: Sequence[str], shape: Sequence[int]) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = [text.encode() for text in texts]
    return array.reshape(len(texts), *shape[1:])
