"""One keep-alive HTTP/1.1 connection that sends one request at a time and says exactly how each one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

HEAD_LIMIT_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer. Header names are lower-case; a repeated header keeps its last value."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionEnded(Exception):
    """The connection ended before the answer was complete; ``answer_begun`` says whether any byte of it had come."""

    def __init__(self, reason: str, *, answer_begun: bool) -> None:
        super().__init__(reason)
        self.answer_begun = answer_begun


class MalformedAnswer(Exception):
    """What came is not an HTTP/1.1 answer to one request."""


class Connection(asyncio.Protocol):
    """Keep-alive is the server's choice: after an answer with ``Connection: close`` the connection counts as closed."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._buffer = bytearray()
        self._parser = _Parser()
        self._lost_reason: str | None = None
        self.closed_by_answer = False

    @property
    def is_usable(self) -> bool:
        """Whether the client has, as far as it knows, a connection on which it may write."""
        return self._transport is not None and self._lost_reason is None and not self.closed_by_answer

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        """Sends one request. The future gives the answer, ConnectionEnded or MalformedAnswer."""
        if self._transport is None or self._waiter is not None:
            raise RuntimeError("one request at a time, on an open connection")
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = _Parser()
        self._buffer.clear()
        self._transport.write(request)
        return self._waiter

    def abort(self) -> None:
        """Closes at once, also with an answer outstanding."""
        self._waiter = None
        self._lost_reason = self._lost_reason or "closed by the client"
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            # Bytes that no request asked for: whatever comes next on this connection can't be trusted.
            self._lost_reason = "the server sent an answer to no request"
            self.abort()
            return
        self._buffer += data
        try:
            answer = self._parser.parse(self._buffer)
        except (MalformedAnswer, ValueError) as error:
            self._fail(MalformedAnswer(str(error)))
            self.abort()
            return
        if answer is not None:
            self._complete(answer)

    @override
    def eof_received(self) -> bool:
        self._end("the server closed the connection")
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection was closed" if exc is None else f"{type(exc).__name__}: {exc}")

    def _end(self, reason: str) -> None:
        if self._lost_reason is None:
            self._lost_reason = reason
        answer = self._parser.at_end(self._buffer) if self._waiter is not None else None
        if answer is not None:
            self._complete(answer)
        else:
            self._fail(ConnectionEnded(reason, answer_begun=bool(self._buffer)))

    def _complete(self, answer: Answer) -> None:
        waiter, self._waiter = self._waiter, None
        if "close" in answer.headers.get("connection", "").lower():
            self.closed_by_answer = True
            if self._transport is not None:
                self._transport.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


class _Parser:
    """Finds one answer in a growing buffer. Source: RFC 9112, section 6.3 (message body length)."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body_at: int | None = None
        self._length: int | None = None

    def parse(self, buffer: bytearray) -> Answer | None:
        while self._body_at is None:
            if not self._parse_head(buffer):
                return None
        if self._headers.get("transfer-encoding", "").lower() == "chunked":
            body = _dechunk(bytes(buffer[self._body_at :]))
            return None if body is None else self._answer(body)
        if self._length is None or len(buffer) < self._body_at + self._length:
            return None
        if len(buffer) > self._body_at + self._length:
            raise MalformedAnswer("more bytes than the answer announced")
        return self._answer(bytes(buffer[self._body_at :]))

    def at_end(self, buffer: bytearray) -> Answer | None:
        """The answer, if its length is given only by the end of the connection."""
        if self._body_at is None or self._length is not None or "transfer-encoding" in self._headers:
            return None
        return self._answer(bytes(buffer[self._body_at :]))

    def _parse_head(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > HEAD_LIMIT_BYTES:
                raise MalformedAnswer("no end of the headers")
            return False
        lines = buffer[:end].decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1."):
            raise MalformedAnswer(f"not a status line: {lines[0][:80]!r}")
        status = int(lines[0][9:12])
        if 100 <= status < 200:  # interim: the real one follows
            del buffer[: end + 4]
            return self._parse_head(buffer)
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self._headers[name.lower()] = value.strip()
        length = self._headers.get("content-length")
        self._status, self._body_at = status, end + 4
        self._length = 0 if status in {204, 304} else int(length) if length is not None else None
        return True

    def _answer(self, body: bytes) -> Answer:
        return Answer(status=self._status, headers=self._headers, body=body)


def _dechunk(data: bytes) -> bytes | None:
    """The body of a chunked answer, or None while its end hasn't come; trailers are dropped."""
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].partition(b";")[0], 16)
        if size == 0:
            ended = data.startswith(b"\r\n", line_end + 2) or data.find(b"\r\n\r\n", line_end + 2) >= 0
            return b"".join(parts) if ended else None
        start = line_end + 2
        if len(data) < start + size + 2:
            return None
        parts.append(data[start : start + size])
        at = start + size + 2
