"""Converts between JSON values and tensors. A wrong rank, shape or dtype is refused here and never reaches TensorFlow.

This is needed because TensorFlow aborts the process on some of them.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Sequence
from itertools import chain
from types import NoneType
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

_KIND_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    dict: "an object",
    NoneType: "null",
}

PIECE_VALUES = 16 * 1024
"""Values of a large tensor in one call of the JSON encoder. Other threads run between two calls."""


def from_json(spec: TensorSpec, value: object, *, may_hold_booleans: bool = True) -> Array:
    """A nested list (or a scalar) as a tensor of the spec's dtype, checked against its shape.

    Without `may_hold_booleans` numbers are not looked through for booleans, which takes as long as converting them.
    """
    shape, leaves = _flatten(spec, value, may_hold_booleans=may_hold_booleans)
    check_shape(spec, shape)
    return _convert(spec, leaves).reshape(shape)


def from_flat(spec: TensorSpec, value: object, shape: Sequence[int], *, may_hold_booleans: bool = True) -> Array:
    """Row-major data, flat or nested, with its shape given beside it; `may_hold_booleans` as in `from_json`."""
    needed = count_elements(spec, shape)
    nested, leaves = _flatten(spec, value, may_hold_booleans=may_hold_booleans)
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


def _flatten(spec: TensorSpec, value: object, *, may_hold_booleans: bool) -> tuple[list[int], list[object]]:
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
    if may_hold_booleans or not spec.dtype.is_float or type(level[0]) not in (int, float):
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
        allowed, words = {int, float, NoneType}, "numbers"
    else:
        allowed, words = {int}, "integers"
    if others := kinds - allowed:
        held = " and ".join(sorted({_KIND_WORDS[kind] for kind in others}))
        raise _input_error(spec, f"its data must be {words} of a regular shape ({spec.dtype.value}), but holds {held}")


def _to_float(spec: TensorSpec, leaves: list[Any]) -> Array:
    """NaN and infinities are values as others are, and null is NaN; a number beyond the type's range is none."""
    form = f"={len(leaves)}{spec.dtype.numpy.char}"
    try:
        # Twice as fast as NumPy, and it takes nothing but numbers.
        raw = struct.pack(form, *leaves)
    except (struct.error, OverflowError):
        _check_kinds(spec, leaves)
        try:
            raw = struct.pack(form, *(math.nan if leaf is None else leaf for leaf in leaves))
        except (struct.error, OverflowError):
            text = f"its data holds a number that is not finite in {spec.dtype.value}"
            raise _input_error(spec, text) from None
    return np.frombuffer(raw, dtype=spec.dtype.numpy)


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


def to_json(array: Array, *, with_words: bool = False) -> object:
    """What the JSON encoder takes: numbers as they are, strings as text, or as `{"b64": …}` where they aren't UTF-8.

    A number that is not finite becomes null or, `with_words`, one of `NaN`, `Infinity` and `-Infinity`.
    """
    if array.dtype.kind not in "OSU":
        # float16 is unknown to the encoder, and so is memory that isn't contiguous.
        widened = np.ascontiguousarray(array.astype(np.float32) if array.dtype == np.float16 else array)
        has_words = with_words and widened.dtype.kind == "f" and not np.isfinite(widened).all()
        if not array.ndim:
            return number_to_json(array.item()) if has_words else array.item()
        if widened.size > PIECE_VALUES or has_words:
            return orjson.Fragment(_in_pieces(widened, with_words=has_words))
        return widened
    return _strings_to_json(array.tolist())


def number_to_json(value: float) -> object:
    """A number for the JSON encoder, which writes a word where it is not finite."""
    return value if math.isfinite(value) else orjson.Fragment(_word(value))


def _word(value: float) -> bytes:
    if math.isnan(value):
        return b"NaN"
    return b"Infinity" if value > 0 else b"-Infinity"


def _in_pieces(array: Array, *, with_words: bool) -> bytes:
    """A large tensor as JSON, by some calls of the encoder: each keeps the interpreter's lock until it returns."""
    row_values = array.size // len(array)
    if row_values > PIECE_VALUES:
        return b"[" + b",".join(_in_pieces(row, with_words=with_words) for row in array) + b"]"
    step = max(1, PIECE_VALUES // max(1, row_values))
    pieces = (array[at : at + step] for at in range(0, len(array), step))
    return b"[" + b",".join(_encode_piece(piece, with_words=with_words)[1:-1] for piece in pieces) + b"]"


def _encode_piece(piece: Array, *, with_words: bool) -> bytes:
    text = orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY)
    if not with_words:
        return text
    # The encoder writes each number that is not finite as null, and nothing else.
    words = map(_word, piece[~np.isfinite(piece)].tolist())
    return re.sub(b"null", lambda _: next(words), text)


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
    """The rows of a tensor of shape [rows, ...], each ready for the JSON encoder, as `to_json` with words."""
    return [to_json(np.asarray(row), with_words=True) if array.ndim > 1 else _scalar(row) for row in array]


def _scalar(value: object) -> object:
    return _strings_to_json(value) if isinstance(value, bytes | str) else to_json(np.asarray(value), with_words=True)
