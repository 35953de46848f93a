"""Compressed bodies of requests and of large answers. Source: RFC 9110, 8.4.1 and 12.5.3."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.protocols.http import JSON, Request, Response

HEADER = b"content-encoding"
UNPACKED_PER_BYTE = 8
"""How much larger than sent a body is taken to be when it is decided where it is unpacked."""

ACCEPTED = b"accept-encoding"
PACKED_BYTES = range(16 * 1024, 16 * 1024 * 1024 + 1)
"""Sizes of an answer that is compressed. A smaller one gains nothing, and a larger one would keep others waiting."""

_LEVEL = 1
"""Numbers as text: half the size at 110 MB/s. The default, 6, takes seven times as long for a tenth less."""

_ACCEPTED_BYTES_MAX = 256
_WINDOW_BITS = MappingProxyType({b"gzip": 31, b"x-gzip": 31, b"deflate": 15})
_RAW_DEFLATE = -15


def unpack(request: Request, bytes_max: int) -> Request:
    """The request with its body as it was before it was compressed.

    Raises:
        RequestError: another encoding, more than `bytes_max` bytes (TooLarge), or a body that isn't what it says.
    """
    coding = request.headers.get(HEADER, b"identity").strip().lower()
    if coding == b"identity":
        return request
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        text = f"content-encoding {coding[:32].decode('latin-1')!r} is not supported: send gzip, deflate or identity"
        raise RequestError(RequestReason.UNKNOWN_ENCODING, text)
    body = _inflate(request.body, bits, bytes_max)
    return replace(request, body=body)


def accepts_gzip(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client of a request takes an answer that is compressed by gzip."""
    value = headers.get(ACCEPTED)
    return value is not None and len(value) <= _ACCEPTED_BYTES_MAX and _names_gzip(value)


def pack(response: Response) -> None:
    """Compress an answer in JSON that is large enough, beside its body. Binary tensors stay: numbers lose nothing.

    For any thread but the server's: it takes a millisecond for each 100 KiB.
    """
    if response.content_type is JSON and len(response.body) in PACKED_BYTES:
        response.packed = zlib.compress(response.body, _LEVEL, _WINDOW_BITS[b"gzip"])


@functools.lru_cache(maxsize=64)
def _names_gzip(value: bytes) -> bool:
    """A coding that is listed counts by its weight, or else by that of the asterisk."""
    weights = {}
    for item in value.lower().split(b","):
        coding, *parameters = item.split(b";")
        pairs = (each.partition(b"=") for each in parameters)
        weight = next((value.strip() for key, _, value in pairs if key.strip() == b"q"), b"1")
        weights[coding.strip()] = bool(weight.strip(b"0."))
    return weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", False)))


def _inflate(packed: bytes, bits: int, bytes_max: int) -> bytes:
    # Some clients send deflate without the two bytes of zlib's head, whose first names the method 8.
    if bits == 15 and (not packed or packed[0] & 0x0F != 8):
        bits = _RAW_DEFLATE
    inflater = zlib.decompressobj(bits)
    try:
        body = inflater.decompress(packed, bytes_max + 1)
    except zlib.error:
        raise RequestError(RequestReason.MALFORMED, "the body is not what its content-encoding says") from None
    if len(body) > bytes_max:
        text = f"the body is larger than the limit of {bytes_max} bytes once it is unpacked"
        raise RequestError(RequestReason.TOO_LARGE, text)
    if not inflater.eof or inflater.unused_data:
        raise RequestError(RequestReason.MALFORMED, "the body must be exactly one whole compressed stream")
    return body
