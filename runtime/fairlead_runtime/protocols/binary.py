"""Tensors as raw little-endian bytes behind the JSON part of a body.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.model.signature import DType, TensorSpec

_LENGTH = struct.Struct("<I")


def split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON part and the rest; raises RequestError for a length that can't be."""
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        text = "Inference-Header-Content-Length must be a number, at most the body's length"
        raise RequestError(RequestReason.MALFORMED, text)
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


class Reader:
    """Takes tensors from the binary part, in order."""

    def __init__(self, blob: memoryview) -> None:
        self._blob = blob
        self._at = 0

    def read(self, spec: TensorSpec, size: object, shape: list[int]) -> Array:
        """The next tensor of the binary part: `size` bytes of this shape. Raises RequestError when they do not fit."""
        if type(size) is not int or size < 0 or self._at + size > len(self._blob):
            raise _input_error(spec, "binary_data_size is larger than the rest of the body")
        elements = codec.count_elements(spec, shape)
        part = self._blob[self._at : self._at + size]
        self._at += size
        if spec.dtype is DType.STRING:
            return _read_strings(spec, part, elements).reshape(shape)
        expected = elements * spec.dtype.numpy.itemsize
        if size != expected:
            raise _input_error(spec, f"its shape needs {expected} bytes, binary_data_size says {size}")
        array = np.frombuffer(part, dtype=spec.dtype.numpy.newbyteorder("<")).reshape(shape)
        if spec.dtype is DType.BOOL:
            return np.asarray(array.view(np.uint8) != 0)
        return array

    def finish(self) -> None:
        """Raises RequestError when bytes are left that belong to no input."""
        if self._at != len(self._blob):
            text = f"{len(self._blob) - self._at} bytes at the end of the binary data belong to no input"
            raise RequestError(RequestReason.MALFORMED, text)


def _read_strings(spec: TensorSpec, part: memoryview, elements: int) -> Array:
    """Each element is its length in four bytes, then its bytes."""
    found: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(part) and len(found) < elements:
        (length,) = _LENGTH.unpack_from(part, at)
        at += _LENGTH.size
        found.append(bytes(part[at : at + length]))
        at += length
    if at != len(part) or len(found) != elements:
        raise _input_error(spec, "its binary strings don't match its shape or their own lengths")
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def write(array: Array) -> bytes:
    """A tensor in binary form: little-endian numbers in row-major order, strings with a 4-byte length before each."""
    if array.dtype.kind not in "OSU":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
    return b"".join(_LENGTH.pack(len(item)) + item for item in items)


def _input_error(spec: TensorSpec, why: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: {why}")
