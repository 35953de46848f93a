"""Whether two answers to one request say the same. Both bodies pass through the same decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from fairlead_runtime.errors import RequestError
from fairlead_runtime.model.signature import TensorSpec
from fairlead_runtime.protocols import binary, datatypes, http, v2_rest

ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-2

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, tuple[str, Array]]
"""By name: the datatype as in the protocol, and the values."""

_DTYPES = {name: dtype for dtype, name in datatypes.NAMES.items()}


class UnreadableError(Exception):
    """A body is not an answer of its protocol."""


def decode(body: bytes, header_length: bytes | None, *, protocol: str) -> Outputs:
    """The outputs in an answer's body. Raises UnreadableError."""
    try:
        if protocol == v2_rest.PROTOCOL:
            return _decode_v2(body, header_length)
        return _decode_v1(http.parse(body))
    except (RequestError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UnreadableError(str(error)) from error


def is_different(ours: Outputs, theirs: Outputs) -> bool:
    """Whether any output differs: in name, datatype, shape, or by more than is allowed to its values.

    Floats with rows of more than one score: the index of the highest, in any row. Other floats: beyond the tolerance.
    Everything else: at all.
    """
    if ours.keys() != theirs.keys():
        return True
    return any(_differs(*ours[name], *theirs[name]) for name in ours)


def _differs(our_type: str, our: Array, their_type: str, their: Array) -> bool:
    if our_type != their_type or our.shape != their.shape:
        return True
    if our.dtype.kind != "f":
        return not np.array_equal(our, their)
    if not np.array_equal(np.isnan(our), np.isnan(their)):
        return True
    if our.ndim > 1 and our.shape[-1] > 1:
        return not np.array_equal(our.argmax(axis=-1), their.argmax(axis=-1))
    near = np.isclose(their, our, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True)
    return not bool(near.all())


def _decode_v2(body: bytes, header_length: bytes | None) -> Outputs:
    head, blob = binary.split(body, header_length)
    reader = binary.Reader(blob)
    return {str(item["name"]): _tensor(item, reader) for item in orjson.loads(head)["outputs"]}


def _tensor(item: Mapping[str, Any], reader: binary.Reader) -> tuple[str, Array]:
    datatype, shape = str(item["datatype"]), list(item["shape"])
    dtype = _DTYPES[datatype]
    size = item.get("parameters", {}).get("binary_data_size")
    if size is not None:
        return datatype, reader.read(TensorSpec(name="", dtype=dtype, shape=None), size, shape)
    # A null is a float that JSON has no word for, and becomes NaN.
    return datatype, np.array(item["data"], dtype=dtype.numpy).reshape(shape)


def _decode_v1(answer: Mapping[str, Any]) -> Outputs:
    if "outputs" in answer:
        given = answer["outputs"]
        columns = given if isinstance(given, dict) and given.keys() != {"b64"} else {"": given}
    else:
        rows = answer["predictions"]
        first = rows[0] if rows else None
        if isinstance(first, dict) and first.keys() != {"b64"}:
            columns = {name: [row[name] for row in rows] for name in first}
        else:
            columns = {"": rows}
    return {str(name): _values(value) for name, value in columns.items()}


def _values(value: object) -> tuple[str, Array]:
    array = np.array(value)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            # Strings, some of them as objects of base64.
            return "O", array
    return array.dtype.kind, array
