"""Messages between two stages on one connection: tensors as their bytes, or one sentence. Nothing is unpickled.

A message is its kind (1 byte), the length of its head (4 bytes), the head, and what the head names. The head is JSON:
the types and shapes of the tensors, or a text.
"""

from __future__ import annotations

import math
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import orjson

from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.model.signature import DType

_START = struct.Struct("!BI")
HEAD_BYTES_MAX = 64 * 1024
TENSOR_BYTES_MAX = 2**31
TENSORS_MAX = 64
DIMENSIONS_MAX = 32
_DTYPES = {each.value: each.numpy for each in DType if each is not DType.STRING}
_COMPLEX = {name: np.dtype(name) for name in ("complex64", "complex128")}
_KNOWN = {**_DTYPES, **_COMPLEX}
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""Seconds, seconds, times: the other end's node may be gone without a word."""


class Kind(IntEnum):
    HELLO = 1
    """What shows who connects, as a text."""
    TENSORS = 2
    INPUT_REFUSED = 3
    """The model itself refuses the input; a text says why."""
    FAILED = 4
    FAILED_BY_VALUE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`text` for all kinds but TENSORS."""

    kind: Kind
    tensors: Tensors = ()
    text: str = ""


class WireError(OSError):
    """What came is no message, so the connection is of no use."""


def prepare(connection: socket.socket, *, timeout_s: float | None) -> None:
    """Sends small messages at once, and notices a node that is gone within half a minute."""
    connection.settimeout(timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def send(connection: socket.socket, message: Message) -> None:
    """Raises OSError."""
    if message.kind is not Kind.TENSORS:
        head = orjson.dumps(message.text)
        connection.sendall(_START.pack(message.kind, len(head)) + head)
        return
    arrays = [np.ascontiguousarray(tensor).reshape(tensor.shape) for tensor in message.tensors]
    head = orjson.dumps([[array.dtype.name, array.shape] for array in arrays])
    connection.sendall(_START.pack(message.kind, len(head)) + head)
    for array in arrays:
        if array.nbytes:
            connection.sendall(_bytes_of(array))


def receive(connection: socket.socket, *, head_bytes_max: int = HEAD_BYTES_MAX) -> Message | None:
    """The next message, None where the other end closed the connection between two; raises OSError."""
    start = bytearray(_START.size)
    if not _read_into(connection, memoryview(start), may_end=True):
        return None
    number, length = _START.unpack(start)
    if number not in Kind.__members__.values() or length > head_bytes_max:
        raise WireError(f"no message begins with {bytes(start)!r}")
    head = bytearray(length)
    _read_into(connection, memoryview(head))
    try:
        read = orjson.loads(head)
    except orjson.JSONDecodeError:
        raise WireError("the head of a message is no JSON") from None
    kind = Kind(number)
    if kind is not Kind.TENSORS:
        if not isinstance(read, str):
            raise WireError("a text is missing")
        return Message(kind=kind, text=read)
    return Message(kind=kind, tensors=tuple(_read_tensor(connection, each) for each in _checked(read)))


def _checked(read: object) -> list[tuple[np.dtype[np.generic], tuple[int, ...]]]:
    if not isinstance(read, list) or len(read) > TENSORS_MAX:
        raise WireError("the types and shapes of the tensors are missing")
    found = []
    for each in read:
        match each:
            case [str(name), list(shape)] if name in _KNOWN and len(shape) <= DIMENSIONS_MAX:
                pass
            case _:
                raise WireError(f"no type and shape of a tensor: {each!r:.100}")
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise WireError(f"no shape of a tensor: {shape!r:.100}")
        if math.prod(shape) * _KNOWN[name].itemsize > TENSOR_BYTES_MAX:
            raise WireError(f"a tensor of the shape {shape!r:.100} is too large")
        found.append((_KNOWN[name], tuple(shape)))
    return found


def _read_tensor(connection: socket.socket, wanted: tuple[np.dtype[np.generic], tuple[int, ...]]) -> Array:
    dtype, shape = wanted
    array = np.empty(shape, dtype=dtype)
    if array.nbytes:
        _read_into(connection, _bytes_of(array))
    return array


def _bytes_of(array: Array) -> memoryview:
    """Those of an array in one piece, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _read_into(connection: socket.socket, target: memoryview, *, may_end: bool = False) -> bool:
    """False where the connection ended before the first byte, if that may be; raises OSError."""
    done = 0
    while done < len(target):
        count = connection.recv_into(target[done:])
        if count == 0:
            if may_end and done == 0:
                return False
            raise WireError("the connection ended within a message")
        done += count
    return True
