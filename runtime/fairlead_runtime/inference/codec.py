"""Converts between JSON values and tensors. A wrong rank, shape or dtype is refused here and never reaches TensorFlow.

This is needed because TensorFlow aborts the process on some of them.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.signature import DType, TensorSpec

Array = np.ndarray[Any, Any]
RANK_MAX = 32
"""Dimensions of a shape, and levels of nested lists."""

SIZE_MAX = 2**31 - 1
"""Largest size of one dimension. Together with `RANK_MAX` it bounds every number that is computed from a shape."""

PIECE_VALUES = 16 * 1024
"""Values of a large tensor in one call of the JSON encoder. Other threads run between two calls."""


def from_json(spec: TensorSpec, value: object) -> Array:
    """A nested list (or a scalar) as a tensor of the spec's dtype, checked against its shape."""
    shape, leaves = _flatten(spec, value)
    check_shape(spec, shape)
    return _convert(spec, leaves).reshape(shape)


def from_flat(spec: TensorSpec, value: object, shape: Sequence[int]) -> Array:
    """Row-major data, flat or nested, with its shape given beside it."""
    needed = count_elements(spec, shape)
    nested, leaves = _flatten(spec, value)
    if len(leaves) != needed:
        raise _input_error(spec, f"its shape {list(shape)} needs {needed} elements, but data has {len(leaves)}")
    if len(nested) > 1 and nested != list(shape):
        raise _input_error(spec, f"its data is nested as {nested}, but its shape says {list(shape)}")
    check_shape(spec, shape)
    return _convert(spec, leaves).reshape(shape)


def check_array(spec: TensorSpec, array: Array) -> Array:
    """The tensor itself. Raises RequestError when the signature does not allow its shape."""
    check_shape(spec, array.shape)
    return array


def check_shape(spec: TensorSpec, shape: Sequence[int]) -> None:
    """Raises RequestError for a shape that the signature doesn't allow; the shape has passed `count_elements`."""
    if 0 in shape:
        raise _input_error(spec, "it is empty")
    if spec.shape is not None:
        fits = len(shape) == len(spec.shape) and all(
            size is None or size == given for size, given in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise _input_error(spec, f"expected shape {shape_text(spec.shape)}, got {list(shape)}")


def count_elements(spec: TensorSpec, shape: Sequence[int]) -> int:
    """The elements of a tensor of this shape. Nothing is computed from a shape before its rank is bounded."""
    if len(shape) > RANK_MAX:
        raise _input_error(spec, f"its shape has {len(shape)} dimensions; at most {RANK_MAX} are allowed")
    return math.prod(shape)


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape as text, with -1 for a free dimension: `[-1, 28, 28]`."""
    return "[" + ", ".join("-1" if size is None else str(size) for size in shape) + "]"


def check_rows(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
    """Raises RequestError unless all inputs with a free first dimension have the same number of rows."""
    rows = {array.shape[0] for spec, array in zip(specs, arrays, strict=True) if spec.has_free_batch}
    if len(rows) > 1:
        raise RequestError(RequestReason.INVALID_INPUT, f"the inputs have different numbers of rows: {sorted(rows)}")


def _flatten(spec: TensorSpec, value: object) -> tuple[list[int], list[object]]:
    """The shape of nested lists and their leaves in row-major order; by levels, without a loop over elements."""
    shape: list[int] = []
    level = [value]
    while type(level[0]) is list:
        if len(shape) == RANK_MAX:
            raise _input_error(spec, f"its data is nested too deep: at most {RANK_MAX} levels are allowed")
        lists = _all_lists(spec, level)
        if len(set(map(len, lists))) > 1:
            raise _input_error(
                spec, "its data is not rectangular: lists on one level must have the same length and depth"
            )
        shape.append(len(lists[0]))
        level = list(chain.from_iterable(lists))
        if not level:
            return shape, level
    if not spec.dtype.is_float or type(level[0]) not in (int, float):
        _check_kinds(spec, level)
    return shape, level


def _all_lists(spec: TensorSpec, level: list[Any]) -> list[list[object]]:
    if set(map(type, level)) != {list}:
        raise _input_error(spec, "its data is not rectangular: lists on one level must have the same length and depth")
    return level


def _convert(spec: TensorSpec, leaves: list[Any]) -> Array:
    """Leaves of the right kind as a flat tensor of the spec's dtype."""
    if spec.dtype is DType.STRING:
        array = np.empty(len(leaves), dtype=object)
        array[:] = [_string(spec, value) for value in leaves]
        return array
    if spec.dtype is DType.BOOL:
        return np.array(leaves, dtype=bool)
    if spec.dtype.is_float:
        return _to_float(spec, leaves)
    limits = np.iinfo(spec.dtype.numpy)
    if min(leaves) < limits.min or max(leaves) > limits.max:
        raise _input_error(spec, f"its data holds a number outside {spec.dtype.value}")
    return np.array(leaves, dtype=spec.dtype.numpy)


def _check_kinds(spec: TensorSpec, leaves: list[object]) -> None:
    """Before NumPy sees the leaves: beside one string it makes strings of all numbers, each as long as the longest."""
    kinds = set(map(type, leaves))
    if list in kinds:
        raise _input_error(spec, "its data is not rectangular: lists on one level must have the same length and depth")
    allowed: set[type]
    if spec.dtype is DType.STRING:
        allowed, words = {str, dict}, 'strings, or objects {"b64": "…"},'
    elif spec.dtype is DType.BOOL:
        allowed, words = {bool}, "booleans"
    elif spec.dtype.is_float:
        allowed, words = {int, float}, "numbers"
    else:
        allowed, words = {int}, "integers"
    if not kinds <= allowed:
        raise _input_error(spec, f"its data must be {words} of a regular shape ({spec.dtype.value})")


def _to_float(spec: TensorSpec, leaves: list[Any]) -> Array:
    try:
        # Twice as fast as NumPy, and it takes nothing but numbers.
        raw = struct.pack(f"={len(leaves)}{spec.dtype.numpy.char}", *leaves)
    except (struct.error, OverflowError):
        _check_kinds(spec, leaves)
        # Numbers all of them, so one is beyond the type's range.
        raw = b""
    array = np.frombuffer(raw, dtype=spec.dtype.numpy)
    if not raw or not np.isfinite(array).all():
        raise _input_error(spec, f"its data holds a number that is not finite in {spec.dtype.value}")
    return array


def _string(spec: TensorSpec, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise _input_error(spec, "its data holds a b64 value that is not base64") from None
    raise _input_error(spec, 'its data must be strings, or objects {"b64": "…"}')


def _input_error(spec: TensorSpec, why: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: {why}")


def to_json(array: Array) -> object:
    """What the JSON encoder takes: numbers as they are, strings as text, or as `{"b64": …}` where they aren't UTF-8."""
    if array.dtype.kind not in "OSU":
        # float16 is unknown to the encoder, and so is memory that isn't contiguous.
        widened = array.astype(np.float32) if array.dtype == np.float16 else array
        if widened.size > PIECE_VALUES:
            return orjson.Fragment(_in_pieces(np.ascontiguousarray(widened)))
        return np.ascontiguousarray(widened) if widened.ndim else widened.item()
    return _strings_to_json(array.tolist())


def _in_pieces(array: Array) -> bytes:
    """A large tensor as JSON, by some calls of the encoder: each keeps the interpreter's lock until it returns."""
    row_values = array.size // len(array)
    if row_values > PIECE_VALUES:
        return b"[" + b",".join(_in_pieces(row) for row in array) + b"]"
    step = max(1, PIECE_VALUES // max(1, row_values))
    pieces = (array[at : at + step] for at in range(0, len(array), step))
    return b"[" + b",".join(orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for piece in pieces) + b"]"


def _strings_to_json(value: object) -> object:
    if isinstance(value, list):
        return [_strings_to_json(inner) for inner in value]
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def rows_of(array: Array) -> list[object]:
    """The rows of a tensor of shape [rows, ...], each ready for the JSON encoder."""
    return [to_json(np.asarray(row)) if array.ndim > 1 else _scalar(row) for row in array]


def _scalar(value: object) -> object:
    return _strings_to_json(value) if isinstance(value, bytes) else np.asarray(value).item()
