"""gRPC's server reflection: which services there are, and their messages as descriptors.

A client asks over a stream, which is answered message by message.
Source: https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1alpha/reflection.proto
"""

import asyncio
from collections.abc import AsyncIterator

from fairlead_gateway.server_calls import descriptors, exchange, messages

PATHS = frozenset(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
REQUESTS_MAX = 1000
"""Of one stream."""

STREAM_S = 30.0
STREAMS_MAX = 16
"""At a time; a client asks what it needs within milliseconds."""

_NOT_FOUND, _INVALID, _TOO_LATE, _TOO_MUCH, _UNIMPLEMENTED = 5, 3, 4, 8, 12


class _EndError(Exception):
    """A stream is ended with a status that is not OK."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Streams:
    """The streams that are under way: few, and none of them for long."""

    def __init__(self) -> None:
        self._count = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        """Answer each message of a stream until the client ends it. What is written last is not waited for."""
        writer.write(exchange.CALL_HEAD)
        if self._count >= STREAMS_MAX:
            writer.write(exchange.call_end(_TOO_MUCH, f"the gateway answers at most {STREAMS_MAX} streams at a time"))
            return
        self._count += 1
        try:
            async with asyncio.timeout(STREAM_S):
                await _answer_messages(reader, writer, head)
        except TimeoutError:
            writer.write(exchange.call_end(_TOO_LATE, f"a stream may take at most {STREAM_S:g} s"))
        except _EndError as end:
            writer.write(exchange.call_end(end.status, end.sentence))
        else:
            writer.write(exchange.call_end())
        finally:
            self._count -= 1


async def _answer_messages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    count = 0
    async for message in _read_messages(reader, head):
        count += 1
        if count > REQUESTS_MAX:
            raise _EndError(_TOO_MUCH, f"a stream may have at most {REQUESTS_MAX} requests")
        writer.write(exchange.chunk(answer(message)))
        await writer.drain()


def answer(request: bytes) -> bytes:
    """The ServerReflectionResponse to a ServerReflectionRequest; raises _EndError for what can't be read as one."""
    try:
        fields = dict(messages.read_fields(request))
    except ValueError:
        raise _EndError(_INVALID, "the message can't be read as ServerReflectionRequest") from None
    host = fields.pop(1, b"")
    # The last field that is set is the one of the oneof.
    number, value = next(reversed(fields.items()), (0, b""))
    asked = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    known = messages.nested(1, host) if isinstance(host, bytes) and host else b""
    return known + messages.nested(2, request) + _answer_one(number, asked)


def _answer_one(number: int, asked: str) -> bytes:
    found = descriptors.catalogue()
    match number:
        case 3 if asked in found.files:
            return messages.nested(4, messages.nested(1, found.files[asked]))
        case 4 if asked in found.symbols:
            return messages.nested(4, messages.nested(1, found.files[found.symbols[asked]]))
        case 6 if asked in found.symbols:
            # None of the files has extensions.
            return messages.nested(5, messages.text(1, asked))
        case 7:
            listed = (messages.nested(1, messages.text(1, service)) for service in found.services)
            return messages.nested(6, b"".join(listed))
        case 3 | 4 | 5 | 6:
            return _error(_NOT_FOUND, f"not found: {asked[:200]}" if number != 5 else "there are no extensions")
        case _:
            return _error(_INVALID, "message_request: the request must ask for a file, a symbol or the services")


def _error(code: int, sentence: str) -> bytes:
    return messages.nested(7, messages.whole(1, code) + messages.text(2, sentence))


async def _read_messages(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """Each message of a stream; raises _EndError for one that is compressed or too long, or a stream that is cut."""
    waiting = b""
    async for piece in exchange.read_pieces(reader, head):
        waiting += piece
        while len(waiting) >= exchange.PREFIX_BYTES:
            end = exchange.PREFIX_BYTES + int.from_bytes(waiting[1 : exchange.PREFIX_BYTES], "big")
            if waiting[0]:
                raise _EndError(_UNIMPLEMENTED, "compressed messages are not supported: send identity")
            if end > exchange.BODY_BYTES_MAX:
                raise _EndError(_TOO_MUCH, f"a request may have at most {exchange.BODY_BYTES_MAX} bytes")
            if len(waiting) < end:
                break
            yield waiting[exchange.PREFIX_BYTES : end]
            waiting = waiting[end:]
    if waiting:
        raise _EndError(_INVALID, "the stream ends within a message")
