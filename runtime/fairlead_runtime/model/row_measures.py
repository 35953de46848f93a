"""Measures of all rows of a request at once, by which guards tell rows that are unlike the training data.

The command line computes them of training data and a replica of requests, so both are the same function of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model import row_features
from fairlead_runtime.model.guard_bounds import COLUMNS_MAX, ELEMENTS_MAX, INPUTS_MAX, Directions
from fairlead_runtime.model.row_features import Vocabularies
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Array = np.ndarray[Any, Any]

SPREAD_ELEMENTS_MAX = 1024
"""A longer row has its mean and spread computed of so many of its elements at most, evenly spaced."""

LINE_ELEMENTS_MAX = 4096
"""A larger image has its roughness computed of so many elements at most, in whole lines that are evenly spaced."""

CHANNELS_MAX = 4
TEXT_ROWS_MAX = 256
"""Of a request with more texts so many are looked up, evenly spaced."""

ROUGHNESS = "roughness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of each row of an input. `read` gives as many as it has looked at; NaN where a row has none.

    A low number means something only where `has_low_bound`. `is_learned` where the measure itself is of training data,
    so that its bounds must be of other rows.
    """

    name: str
    input: int
    text: str
    read: Callable[[Array], Array]
    has_low_bound: bool = False
    is_learned: bool = False


def is_measured(spec: TensorSpec) -> bool:
    """Whether rows of this input have measures: those of texts, floats and 8-bit images, but no indices."""
    return spec.has_free_batch and (spec.dtype in (DType.STRING, DType.UINT8) or spec.dtype.is_float)


def column_count(spec: TensorSpec) -> int | None:
    """Numbers in a row; None where its length is free."""
    sizes = (spec.shape or (None, None))[1:]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def is_table(spec: TensorSpec) -> bool:
    """Whether a row has so few numbers that each has bounds of its own."""
    columns = column_count(spec)
    return columns is not None and columns <= COLUMNS_MAX


def of_signature(
    signature: Signature, vocabularies: Vocabularies, directions: Mapping[int, Directions]
) -> tuple[Measure, ...]:
    """The measures of all inputs, in their order; the distance of those with directions."""
    found: list[Measure] = []
    for index, spec in enumerate(signature.inputs[:INPUTS_MAX]):
        if not is_measured(spec):
            continue
        if spec.dtype is DType.STRING:
            if index in vocabularies:
                found.append(_unknown(index, vocabularies[index]))
            continue
        if not is_table(spec):
            found += [
                Measure(name=f"input{index}_mean", input=index, text="its mean", read=_means, has_low_bound=True),
                Measure(
                    name=f"input{index}_spread",
                    input=index,
                    text="its standard deviation",
                    read=_spreads,
                    has_low_bound=True,
                ),
                Measure(name=f"input{index}_{ROUGHNESS}", input=index, text="its roughness", read=_roughness_of(spec)),
            ]
        if index in directions:
            found.append(
                Measure(
                    name=f"input{index}_distance",
                    input=index,
                    text="its distance",
                    read=_distance_of(directions[index]),
                    is_learned=True,
                )
            )
    return tuple(found)


def elements(rows: Array, count_max: int = ELEMENTS_MAX) -> Array:
    """The rows as a matrix of evenly spaced elements."""
    flat = rows.reshape(len(rows), -1)
    step = max(1, -(-flat.shape[1] // count_max))
    return flat[:, ::step]


def _means(rows: Array) -> Array:
    part = elements(rows, SPREAD_ELEMENTS_MAX)
    found: Array = part.sum(axis=1, dtype=np.float64) / max(1, part.shape[1])
    return found


def _spreads(rows: Array) -> Array:
    part = elements(rows, SPREAD_ELEMENTS_MAX).astype(np.float64)
    count = max(1, part.shape[1])
    part -= (part.sum(axis=1) / count)[:, None]
    found: Array = np.sqrt(np.einsum("ij,ij->i", part, part) / count)
    return found


def _roughness_of(spec: TensorSpec) -> Callable[[Array], Array]:
    """The mean size of the second difference along the lines of an image, or along a row without lines."""
    shape = (spec.shape or ())[1:]
    last = shape[-1] if shape else None
    channels = last if len(shape) >= 3 and last is not None and last <= CHANNELS_MAX else 1

    def read(rows: Array) -> Array:
        width = rows.shape[-2] if channels > 1 or (len(shape) >= 3 and last == 1) else rows.shape[-1]
        lines = rows.reshape(len(rows), -1, width, channels)
        step = max(1, -(-lines[0].size // LINE_ELEMENTS_MAX))
        part = lines[:, ::step].astype(np.float32)
        if width < 3:
            return np.zeros(len(rows))
        bent = part[:, :, 2:] - part[:, :, 1:-1]
        bent -= part[:, :, 1:-1] - part[:, :, :-2]
        np.abs(bent, out=bent)
        found: Array = bent.reshape(len(rows), -1).mean(axis=1)
        return found

    return read


def _distance_of(given: Directions) -> Callable[[Array], Array]:
    """How far a row is from the mean, in units of how far rows are along each direction: 1 is the average square."""
    mean = np.array(given.mean, np.float32)
    scale = 1 / np.array(given.scale, np.float32)
    rest = 1 / given.rest
    components = np.array(given.components, np.float32).reshape(-1, len(mean)).T
    # What the square of a coordinate counts for beyond the share that the rest's gives it already.
    weights = (1 / np.array(given.variances, np.float64) - rest).astype(np.float32)

    def read(rows: Array) -> Array:
        part = elements(rows) - mean
        part *= scale
        # A missing number says nothing: it is where the training data is on average.
        np.copyto(part, 0, where=np.isnan(part))
        along = part @ components
        squares = np.einsum("ij,ij->i", part, part) * rest + (along * along) @ weights
        found: Array = squares / len(mean)
        return found

    return read


def _unknown(index: int, vocabulary: frozenset[int]) -> Measure:
    def read(rows: Array) -> Array:
        part = rows.reshape(len(rows), -1)[:: max(1, -(-len(rows) // TEXT_ROWS_MAX))]
        return np.array([_unknown_share(row, vocabulary) for row in part])

    return Measure(
        name=f"input{index}_unknown", input=index, text="its share of unknown words", read=read, is_learned=True
    )


def _unknown_share(row: Array, vocabulary: frozenset[int]) -> float:
    found = row_features.words(row)
    return sum(word not in vocabulary for word in found) / len(found) if found else 0.0
