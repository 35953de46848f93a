"""One message of a call with its prefix, and the status behind it.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import struct
from typing import Any

from google.protobuf.message import DecodeError

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.protocols.grpc.schema import Message
from fairlead_runtime.protocols.http import Headers, Response

CONTENT_TYPE = b"application/grpc"
_PREFIX = struct.Struct(">?I")
_OK = ((b"grpc-status", b"0"),)


def read(body: bytes, kind: type[Message]) -> Message:
    """The one message of a request; raises RequestError for anything else."""
    if len(body) < _PREFIX.size:
        raise RequestError(RequestReason.MALFORMED, "the call holds no message")
    is_compressed, length = _PREFIX.unpack_from(body)
    if is_compressed:
        raise RequestError(RequestReason.UNKNOWN_METHOD, "compressed messages are not supported: send identity")
    if length != len(body) - _PREFIX.size:
        raise RequestError(RequestReason.MALFORMED, "the call must hold exactly one whole message")
    message = kind()
    try:
        message.ParseFromString(memoryview(body)[_PREFIX.size :])
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise RequestError(RequestReason.MALFORMED, f"the message can't be read as {name}") from None
    return message


def answer(message: Any, protocol: str, *, headers: Headers = ()) -> Response:
    """A message as the whole answer to a call that went well."""
    body = message.SerializeToString()
    return Response(
        status=200,
        body=_PREFIX.pack(False, len(body)) + body,
        content_type=CONTENT_TYPE,
        headers=headers,
        trailers=_OK,
        protocol=protocol,
    )
