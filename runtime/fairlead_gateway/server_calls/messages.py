"""The few protobuf messages that the gateway reads and writes, without a protobuf library.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX = 10


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number with its value: a number, or the bytes of a text, a message or a number of fixed size.

    Raises:
        ValueError: these bytes are no message.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH:
            size, at = _read_varint(message, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field has the wire type {kind}")
        if not number or at + size > len(message):
            raise ValueError("a field has no number or is not whole")
        yield number, message[at : at + size]
        at += size


def text(number: int, value: str) -> bytes:
    """A field with a text; an empty one is left out."""
    return nested(number, value.encode()) if value else b""


def nested(number: int, value: bytes) -> bytes:
    """A field with a message or bytes."""
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value


def whole(number: int, value: int) -> bytes:
    """A field with a whole number from 0, or a truth value; 0 is left out."""
    return _varint(number << 3 | _VARINT) + _varint(value) if value else b""


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number is not whole or longer than ten bytes")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
