"""The top prediction of each row: the class with the highest score, or the number itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature, TensorSpec

ROWS_MAX = 32
"""Rows of a batch that are read. The work for each answer stays bounded; the first rows represent the others."""

_CLASSES = range(2**32)
NO_CLASS = _CLASSES[-1]
"""Of a row with a NaN among its scores, which numpy calls the highest: such a prediction is never right."""
Array = np.ndarray[Any, Any]


class Kind(StrEnum):
    CLASS = "class"
    NUMBER = "number"


@dataclass(slots=True)
class Tops:
    """The top prediction of each of the first rows; scores only where the output is of floats.

    Not frozen: making one is on the hot path.
    """

    kind: Kind
    values: tuple[float, ...]
    scores: tuple[float, ...]


Read = Callable[[Tensors], Tops | None]


def reader(signature: Signature) -> Read:
    """A function from output tensors to the top predictions of this model; it returns None when no output has any.

    The first output that fits, in the order of their names: floats of shape [rows, classes] or [rows], or whole numbers
    of shape [rows]. Without a free first dimension the same holds of the one row.
    """
    for index, spec in enumerate(signature.outputs):
        read = _reader_of(spec)
        if read is not None:
            return _at(index, read)
    return lambda _outputs: None


def row_reader(signature: Signature) -> Callable[[Tensors, int], Tops | None]:
    """As `reader`, of the row with a number alone; None also where there is no such row."""
    for index, spec in enumerate(signature.outputs):
        read = _reader_of(spec)
        if read is not None:
            return _at_row(index, read, has_rows=_has_rows(spec))
    return lambda _outputs, _row: None


def class_count(signature: Signature) -> int | None:
    """How many classes the top prediction is one of; None for one number a row, whole numbers, or an unknown number."""
    for spec in signature.outputs:
        if _reader_of(spec) is not None:
            last = spec.shape[-1] if spec.shape and len(spec.shape) > 1 else None
            return last if last is not None and last > 1 and spec.dtype.is_float else None
    return None


def scores_of(signature: Signature) -> tuple[int, Kind] | None:
    """The output that `reader` reads scores of, and what they are; None without scores or a known size of a row."""
    for index, spec in enumerate(signature.outputs):
        if _reader_of(spec) is None:
            continue
        row = (spec.shape or ())[1:] if _has_rows(spec) else spec.shape or ()
        if not spec.dtype.is_float or None in row:
            return None
        return index, Kind.NUMBER if row in ((), (1,)) else Kind.CLASS
    return None


def _at(index: int, read: Callable[[Array], Tops | None]) -> Read:
    return lambda outputs: read(outputs[index])


def _at_row(
    index: int, read: Callable[[Array], Tops | None], *, has_rows: bool
) -> Callable[[Tensors, int], Tops | None]:
    def read_row(outputs: Tensors, row: int) -> Tops | None:
        array = outputs[index]
        if not has_rows:
            return read(array) if row == 0 else None
        return read(array[row : row + 1]) if row < len(array) else None

    return read_row


def _has_rows(spec: TensorSpec) -> bool:
    """Whether the first dimension is that of the rows, where the rank is known."""
    return spec.has_free_batch or (spec.shape is not None and len(spec.shape) == 2 and spec.shape[0] == 1)


def _reader_of(spec: TensorSpec) -> Callable[[Array], Tops | None] | None:
    if spec.shape is None:
        return None
    has_rows = _has_rows(spec)
    row = spec.shape[1:] if has_rows else spec.shape
    if len(row) > 1:
        return None
    if spec.dtype.is_float:
        return _read_scores if has_rows else _read_one_row
    if spec.dtype.numpy.kind in "iu" and row in ((), (1,)):
        return _read_classes
    return None


def _read_one_row(array: Array) -> Tops | None:
    return _read_scores(array.reshape(1, -1))


def _read_scores(array: Array) -> Tops | None:
    if array.ndim == 2 and array.shape[1] > 1:
        if array.shape[0] == 1:
            best = int(array.argmax())
            score = array.item(best)
            return Tops(Kind.CLASS, (NO_CLASS if math.isnan(score) else best,), (score,))
        part = array[:ROWS_MAX]
        columns = part.argmax(axis=1)
        scores = part[np.arange(len(part)), columns]
        return Tops(Kind.CLASS, tuple(np.where(np.isnan(scores), NO_CLASS, columns).tolist()), tuple(scores.tolist()))
    if array.size != len(array) or array.size == 0:
        return None
    numbers = tuple(array.reshape(-1)[:ROWS_MAX].tolist())
    return Tops(Kind.NUMBER, numbers, numbers)


def _read_classes(array: Array) -> Tops | None:
    values = tuple(array.reshape(-1)[:ROWS_MAX].tolist())
    return Tops(Kind.CLASS, values, ()) if all(value in _CLASSES for value in values) else None
