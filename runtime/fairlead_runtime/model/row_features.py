"""The few numbers by which rows of a model's inputs are compared with the data that it was trained on.

The command line computes them of training data and a replica of requests, so both are the same function of a row.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Array = np.ndarray[Any, Any]

FEATURES_MAX = 16
"""Of all inputs together; inputs that would exceed it are not looked at, nor those after so many inputs."""

COLUMNS_MAX = 12
"""A row with up to so many numbers has one feature for each of them, a longer one their mean and spread."""

ELEMENTS_MAX = 1024
"""A longer row is read at so many of its elements at most, evenly spaced."""

TEXTS_MAX = 64

WORDS_MAX, WORD_BYTES_MAX = 64, 2048
"""So many words of a row, within so many of its bytes, are looked up."""

_SEPARATORS = bytes(each if each >= 128 or chr(each).isalnum() else ord(" ") for each in range(256))

Vocabularies = Mapping[int, frozenset[int]]
"""By the index of an input of texts the words, as `words` numbers them, that are frequent in the training data."""

_Read = Callable[[Array], list[float]]


class RowReader:
    """Reads the features of one row of all inputs. `names` are the values of the label `feature`.

    `inputs` are the indices of the inputs that are looked at.

    `inputN` is the N-th input of the signature, from 0. An input of numbers has the features `inputN_mean` and
    `inputN_spread` (mean and standard deviation over the row), or `inputN_0`, `inputN_1` … where a row has at most
    `COLUMNS_MAX` numbers. An input of texts has `inputN_length`, their bytes together, and
    `inputN_unknown`, the share of their words that is not in the vocabulary.
    """

    def __init__(self, signature: Signature, vocabularies: Vocabularies) -> None:
        names: list[str] = []
        self._parts: list[tuple[int, _Read]] = []
        for index, spec in enumerate(signature.inputs[:FEATURES_MAX]):
            suffixes, read = _reader_of(spec, vocabularies.get(index, frozenset()))
            if len(names) + len(suffixes) <= FEATURES_MAX:
                names += [f"input{index}_{suffix}" for suffix in suffixes]
                self._parts.append((index, read))
        self.names = tuple(names)
        self.inputs = tuple(index for index, _ in self._parts)

    def read(self, inputs: Tensors, row: int) -> list[float]:
        """The features in the order of `names`; `inputs` have more than `row` rows each."""
        found: list[float] = []
        with np.errstate(all="ignore"):
            for index, read in self._parts:
                found += read(inputs[index][row : row + 1].reshape(-1))
        return found


def words(row: Array) -> list[int]:
    """The first words of a row of texts in lower case, each as a number of 32 bits (CRC-32 of its UTF-8)."""
    # Each text is cut first, as they are of any length.
    joined = b" ".join(text[:WORD_BYTES_MAX] for text in row[:TEXTS_MAX].tolist())
    text = joined[:WORD_BYTES_MAX].lower().translate(_SEPARATORS)
    return [zlib.crc32(word) for word in text.split()[:WORDS_MAX]]


def _reader_of(spec: TensorSpec, vocabulary: frozenset[int]) -> tuple[tuple[str, ...], _Read]:
    if spec.dtype is DType.STRING:
        return ("length", "unknown"), lambda row: [_length(row), _unknown(row, vocabulary)]
    sizes = (spec.shape or (None, None))[1:]
    columns = math.prod(size for size in sizes if size is not None)
    if None in sizes or columns > COLUMNS_MAX:
        return ("mean", "spread"), _read_mean_and_spread
    return tuple(map(str, range(columns))), _read_columns


def _length(row: Array) -> float:
    return float(sum(map(len, row[:: _step(row, TEXTS_MAX)].tolist())))


def _unknown(row: Array, vocabulary: frozenset[int]) -> float:
    found = words(row)
    return sum(word not in vocabulary for word in found) / len(found) if found else math.nan


def _read_columns(row: Array) -> list[float]:
    return [float(value) for value in row.tolist()]


def _read_mean_and_spread(row: Array) -> list[float]:
    values = row[:: _step(row, ELEMENTS_MAX)].astype(np.float64)
    if not values.size:
        return [math.nan, math.nan]
    mean = float(values.sum()) / values.size
    values -= mean
    # As float32: the last digits of a sum depend on where its numbers lie in memory.
    return [float(np.float32(mean)), float(np.float32(math.sqrt(float(values @ values) / values.size)))]


def _step(row: Array, count_max: int) -> int:
    return max(1, -(-row.size // count_max))
