"""Labelled samples beside the model, in a file `samples.npz`: what variants are calibrated and judged by.

A tenant writes the file, so nothing in it is trusted: sizes are checked before anything is read, and nothing is
unpickled. `fairlead package --samples` writes it. docs/optimization.md describes its form.
"""

from __future__ import annotations

import errno
import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.model.signature import Signature, TensorSpec

NAME = "samples.npz"
LABELS = "labels"
FILE_BYTES_MAX = 64 * 1024 * 1024
ARRAYS_BYTES_MAX = 128 * 1024 * 1024
"""Of all arrays together, without compression."""
ARRAYS_MAX = 64
ROWS_MIN, ROWS_MAX = 10, 4096
LABEL_MAX = 2**31 - 1
CALIBRATION_ROWS_MAX = 128
CALIBRATION_PART = 3
"""Of the rows at most one in so many is for calibration, and never for judging."""
_SEED = 0
_HEADER_BYTES_MAX = 4096
_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError),
    ValueError,  # as of a name that is no UTF-8
)


class UnusableSamplesError(Exception):
    """The file can't be used; the text is one sentence that says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs in the signature's order; the first rows are for calibration, the others are judged by.

    The rows of a file are in an order of our own here, since those of a class often lie together.
    """

    inputs: Tensors
    labels: Array

    @property
    def calibration_rows(self) -> int:
        return min(CALIBRATION_ROWS_MAX, len(self.labels) // CALIBRATION_PART)

    def calibration(self) -> Tensors:
        """The rows that scales and importances are taken from."""
        return tuple(array[: self.calibration_rows] for array in self.inputs)

    def judged(self) -> tuple[Tensors, Array]:
        """The other rows, with their labels."""
        first = self.calibration_rows
        return tuple(array[first:] for array in self.inputs), self.labels[first:]


def read(path: Path, signature: Signature) -> Samples:
    """Raises UnusableSamplesError, and OSError where the file can't be read from the disk."""
    if any(spec.name == LABELS for spec in signature.inputs):
        text = f"the model has an input {LABELS!r}, which {NAME} has as the name of the labels: rename the input"
        raise UnusableSamplesError(text)
    arrays = _read_arrays(path, {LABELS, *(spec.name for spec in signature.inputs)})
    labels = _check_labels(arrays)
    inputs = tuple(_check_input(arrays, spec, len(labels)) for spec in signature.inputs)
    order = np.random.default_rng(_SEED).permutation(len(labels))
    return Samples(inputs=tuple(array[order] for array in inputs), labels=labels[order].astype(np.int64))


def _read_arrays(path: Path, wanted: set[str]) -> Mapping[str, Array]:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise UnusableSamplesError(f"{NAME} has {path.stat().st_size} bytes; at most {FILE_BYTES_MAX} are allowed")
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as packed:
            entries = packed.infolist()
            if len(entries) > ARRAYS_MAX:
                raise UnusableSamplesError(f"{NAME} holds {len(entries)} arrays; at most {ARRAYS_MAX} are allowed")
            total = sum(entry.file_size for entry in entries)
            if total > ARRAYS_BYTES_MAX:
                text = f"{NAME} holds {total} bytes of arrays; at most {ARRAYS_BYTES_MAX} are allowed"
                raise UnusableSamplesError(text)
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name in wanted:
                    with packed.open(entry) as file:
                        found[name] = _parse(name, file.read(entry.file_size + 1))
    except _ARCHIVE_ERRORS as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # as of the disk, which says nothing about the content
        raise UnusableSamplesError(f"{NAME} is no archive as numpy.savez writes it: {error}") from None
    return found


def _parse(name: str, content: bytes) -> Array:
    """The array of one entry; its own head may claim any size, and only what is there is read."""
    form = "save it as an array of numbers with numpy.savez"
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise UnusableSamplesError(f"{NAME}: {name!r} has the version {version} of the format; {form}")
        read_head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_head(file, max_header_size=_HEADER_BYTES_MAX)
    except (ValueError, EOFError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UnusableSamplesError(f"{NAME}: {name!r} can't be read ({error}); {form}") from None
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise UnusableSamplesError(f"{NAME}: {name!r} has the type {dtype}; {form}")
    left = len(content) - file.tell()
    is_shape = all(type(size) is int and 0 <= size <= ARRAYS_BYTES_MAX for size in shape)
    if not left or not is_shape or math.prod(shape) * dtype.itemsize != left:
        raise UnusableSamplesError(f"{NAME}: {name!r} has the shape {list(shape)[:8]}, but {left} bytes; {form}")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return np.ascontiguousarray(flat.reshape(shape, order="F" if is_fortran else "C"))


def _check_labels(arrays: Mapping[str, Array]) -> Array:
    form = "one whole number from 0 for each row: the index of the true class"
    labels = arrays.get(LABELS)
    if labels is None:
        raise UnusableSamplesError(f"{NAME} has no array {LABELS!r}; it must hold {form}")
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        found = f"the shape {list(labels.shape)[:8]} and the type {labels.dtype}"
        hint = ". A model of quantities (regression) has no variants" if labels.dtype.kind == "f" else ""
        raise UnusableSamplesError(f"{NAME}: {LABELS!r} has {found}; it must hold {form}{hint}")
    if not ROWS_MIN <= len(labels) <= ROWS_MAX:
        raise UnusableSamplesError(f"{NAME} has {len(labels)} rows; it must have from {ROWS_MIN} to {ROWS_MAX}")
    if int(labels.min()) < 0 or int(labels.max()) > LABEL_MAX:
        raise UnusableSamplesError(f"{NAME}: a label is not from 0 to {LABEL_MAX}; {LABELS!r} must hold {form}")
    return labels


def _check_input(arrays: Mapping[str, Array], spec: TensorSpec, rows: int) -> Array:
    array = arrays.get(spec.name)
    if array is None:
        raise UnusableSamplesError(f"{NAME} has no array {spec.name!r}, which is an input of the model")
    if not spec.has_free_batch:
        raise UnusableSamplesError(f"the model's input {spec.name!r} has no free first dimension, which samples need")
    if array.dtype != spec.dtype.numpy:
        raise UnusableSamplesError(f"{NAME}: {spec.name!r} has the type {array.dtype}; it must be {spec.dtype.value}")
    shape = (rows, *(spec.shape or ())[1:])
    fits = array.ndim == len(shape) and all(
        size is None or size == actual for size, actual in zip(shape, array.shape, strict=False)
    )
    if not fits:
        text = f"{NAME}: {spec.name!r} has the shape {list(array.shape)[:8]}; it must be {list(shape)} (None: any size)"
        raise UnusableSamplesError(text)
    return array
