"""Between JSON values and tensors, held to the signature: a wrong rank, shape or dtype never reaches TensorFlow.

It must not: TensorFlow aborts the process on some of them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.signature import DType, TensorSpec

Array = np.ndarray[Any, Any]
STRING_DEPTH_MAX = 32


def from_json(spec: TensorSpec, value: object) -> Array:
    """A nested list (or a scalar) as a tensor of the spec's dtype, checked against its shape."""
    return checked(spec, _parse(spec, value))


def from_flat(spec: TensorSpec, value: object, shape: Sequence[int]) -> Array:
    """Row-major data, flat or nested, with its shape given beside it."""
    array = _parse(spec, value)
    if array.size != math.prod(shape):
        raise _refused(spec, f"its shape {list(shape)} needs {math.prod(shape)} elements, but data has {array.size}")
    if array.ndim > 1 and array.shape != tuple(shape):
        raise _refused(spec, f"its data is nested as {list(array.shape)}, but its shape says {list(shape)}")
    return checked(spec, array.reshape(shape))


def checked(spec: TensorSpec, array: Array) -> Array:
    """The tensor itself, if the signature allows it."""
    if array.size == 0:
        raise _refused(spec, "it is empty")
    if spec.shape is not None:
        fits = array.ndim == len(spec.shape) and all(
            size is None or size == given for size, given in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            raise _refused(spec, f"expected shape {shape_text(spec.shape)}, got {list(array.shape)}")
    return array


def shape_text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("-1" if size is None else str(size) for size in shape) + "]"


def check_rows(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
    """All inputs with a free first dimension carry the same number of rows."""
    rows = {array.shape[0] for spec, array in zip(specs, arrays, strict=True) if spec.has_free_batch}
    if len(rows) > 1:
        raise RequestError(RequestReason.INVALID_INPUT, f"the inputs have different numbers of rows: {sorted(rows)}")


def _parse(spec: TensorSpec, value: object) -> Array:
    if spec.dtype is DType.STRING:
        return _parse_strings(spec, value)
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _refused(spec, "its data is ragged or nested too deep") from None
    if spec.dtype is DType.BOOL:
        return _of_kind(spec, array, "b", "booleans")
    if spec.dtype.is_float:
        return _to_float(spec, _of_kind(spec, array, "fiu", "numbers"))
    if array.dtype.kind in "fO":
        # NumPy makes floats of integers that need both int64 and uint64, and objects of larger ones.
        array = np.array(value, dtype=object)
        if all(type(item) is int for item in array.flat):
            return _to_integer(spec, array)
    return _to_integer(spec, _of_kind(spec, array, "iu", "integers"))


def _of_kind(spec: TensorSpec, array: Array, kinds: str, words: str) -> Array:
    # An empty list is float64 to NumPy, whatever was meant; it is refused later, as empty.
    if array.dtype.kind in kinds or array.size == 0:
        return array
    raise _refused(spec, f"its data must be {words} of a regular shape ({spec.dtype.value})")


def _to_float(spec: TensorSpec, array: Array) -> Array:
    with np.errstate(over="ignore"):
        converted = array.astype(spec.dtype.numpy)
    if not np.isfinite(converted).all():
        raise _refused(spec, f"its data holds a number that is not finite in {spec.dtype.value}")
    return converted


def _to_integer(spec: TensorSpec, array: Array) -> Array:
    if array.size == 0:
        return array
    limits = np.iinfo(spec.dtype.numpy)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        raise _refused(spec, f"its data holds a number outside {spec.dtype.value}")
    return array.astype(spec.dtype.numpy)


def _parse_strings(spec: TensorSpec, value: object) -> Array:
    shape: list[int] = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        if len(shape) > STRING_DEPTH_MAX:
            raise _refused(spec, "its data is nested too deep")
        if not level:
            break
        level = level[0]
    flat: list[bytes] = []
    _flatten(spec, value, shape, 0, flat)
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(shape)


def _flatten(spec: TensorSpec, value: object, shape: list[int], depth: int, into: list[bytes]) -> None:
    if depth == len(shape):
        into.append(_string(spec, value))
    elif isinstance(value, list) and len(value) == shape[depth]:
        for inner in value:
            _flatten(spec, inner, shape, depth + 1, into)
    else:
        raise _refused(spec, "its data is ragged")


def _string(spec: TensorSpec, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise _refused(spec, "its data holds a b64 value that is not base64") from None
    raise _refused(spec, 'its data must be strings, or objects {"b64": "…"}')


def _refused(spec: TensorSpec, why: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: {why}")


def to_json(array: Array) -> object:
    """What the JSON encoder takes: numbers as they are, strings as text, or as `{"b64": …}` where they aren't UTF-8."""
    if array.dtype.kind not in "OSU":
        # float16 is unknown to the encoder, and so is memory that isn't contiguous.
        widened = array.astype(np.float32) if array.dtype == np.float16 else array
        return np.ascontiguousarray(widened) if widened.ndim else widened.item()
    return _strings_to_json(array.tolist())


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
    """The rows of a tensor, each ready for the JSON encoder."""
    return [to_json(np.asarray(row)) if array.ndim > 1 else _scalar(row) for row in array]


def _scalar(value: object) -> object:
    return _strings_to_json(value) if isinstance(value, bytes) else np.asarray(value).item()
