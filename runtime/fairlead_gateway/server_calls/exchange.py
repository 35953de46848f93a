"""A request as HAProxy hands it on by HTTP/1.1, and an answer as bytes. aiohttp can't send gRPC's status in a trailer.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

BODY_BYTES_MAX = 4096
"""Of a request, or of each message of a stream. HAProxy refuses a longer request; it lets all of a stream through."""

CALL_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
)
PREFIX_BYTES = 5


class RefusedError(Exception):
    """A request is refused with this HTTP status and sentence."""

    def __init__(self, status: int, sentence: str, *, allow: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.allow = allow


def path_of(target: str) -> str:
    """The path of a request's target, which may be a whole URI and have a query. Source: RFC 9112, 3.2."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


async def read_pieces(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """The body of a request, as it comes: HAProxy sends it with a length, or in chunks. A GET has none.

    Raises:
        ValueError: a chunk has no size.
        asyncio.IncompleteReadError: the request ends before its body does.
    """
    length = re.search(rb"\r\ncontent-length: *(\d{1,18})\r\n", head, re.IGNORECASE)
    if length is not None:
        async for piece in _read_part(reader, int(length[1])):
            yield piece
        return
    if re.search(rb"\r\ntransfer-encoding: *chunked\r\n", head, re.IGNORECASE) is None:
        return
    while size := int((await reader.readline()).partition(b";")[0], 16):
        async for piece in _read_part(reader, size):
            yield piece
        await reader.readexactly(2)


async def _read_part(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.readexactly(min(size, BODY_BYTES_MAX))
        size -= len(piece)
        yield piece


async def read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The whole body of a request. Raises RefusedError for one that is too long, and what `read_pieces` raises."""
    body = b""
    async for piece in read_pieces(reader, head):
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise RefusedError(413, f"a request to the gateway itself may have at most {BODY_BYTES_MAX} bytes")
    return body


def read_message(body: bytes) -> bytes:
    """The one message of a call; raises RefusedError."""
    if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES], "big") != len(body) - PREFIX_BYTES:
        raise RefusedError(400, "the call must hold exactly one whole message")
    if body[0]:
        raise RefusedError(501, "compressed messages are not supported: send them with the encoding identity")
    return body[PREFIX_BYTES:]


def chunk(message: bytes) -> bytes:
    """One message of a call's answer, with its prefix, as a chunk."""
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    return b"%x\r\n%s\r\n" % (len(framed), framed)


def call_end(status: int = 0, sentence: str = "") -> bytes:
    """The end of a call's answer: gRPC's status."""
    reason = f"grpc-message: {quote(sentence)}\r\n" if sentence else ""
    return f"0\r\ngrpc-status: {status}\r\n{reason}\r\n".encode()


def call_answer(message: bytes) -> bytes:
    """The whole answer to a call that went well."""
    return CALL_HEAD + chunk(message) + call_end()


def json_answer(value: object, *, status: int = 200, more: str = "") -> bytes:
    """A whole answer in JSON; `more` are whole lines of its head."""
    return encoded_answer(json.dumps(value).encode(), status=status, more=more)


def encoded_answer(body: bytes, *, status: int = 200, more: str = "") -> bytes:
    """The same of JSON that is encoded already."""
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\ncontent-type: application/json\r\n{more}"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def refusal(error: RefusedError) -> bytes:
    """The whole answer for a refusal. Of a call HAProxy makes gRPC's status of it."""
    more = f"allow: {error.allow}\r\n" if error.allow is not None else ""
    if error.status == 503:
        more += "retry-after: 1\r\n"
    return json_answer({"error": error.sentence}, status=error.status, more=more)
