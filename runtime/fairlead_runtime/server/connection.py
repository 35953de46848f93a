"""One client connection: bytes to requests, answers to bytes, in order and within limits.

An answer is one `write` of head and body: a replica that dies has sent it whole or not begun, so the gateway may retry.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast
from urllib.parse import unquote

import httptools
from typing_extensions import override

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.protocols import refusals
from fairlead_runtime.protocols.http import Answer, Request, Response
from fairlead_runtime.server.limits import ServerLimits
from fairlead_runtime.server.writer import ResponseWriter

LOG = logging.getLogger(__name__)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MEBIBYTE = 1024 * 1024


class Waiting(StrEnum):
    """What a connection waits for, which decides how long it may."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    LINGER = "linger"


def _nothing(_request: Request, _response: Response) -> None:
    return


async def _nothing_more() -> None:
    return


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the connections of one server have in common."""

    handle: Callable[[Request], Answer]
    limits: ServerLimits
    metrics: ReplicaMetrics
    writer: ResponseWriter
    close: Callable[[], None]
    answered: Callable[[Request, Response], None] = _nothing
    """Told of each request whose answer was written; must neither wait nor raise."""
    finish: Callable[[], Awaitable[None]] = _nothing_more
    """Awaited once no connection is left."""
    connections: set[Connection] = field(default_factory=set)
    in_flight: int = 0
    is_draining: bool = False


@dataclass(slots=True, kw_only=True)
class _Message:
    """A parsed request, or the refusal of one that never got whole."""

    request: Request
    keep_alive: bool
    refused: RequestError | None = None
    arrived_s: float = 0.0


class Connection(asyncio.Protocol):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[_Message] = deque()
        self._pending: asyncio.Future[Response] | None = None
        self._is_paused = False
        self._is_closing = False
        self._is_writable = True
        self._has_eof = False
        self._is_parsing = False
        self._body: list[bytes] = []
        self.waiting = Waiting.IDLE
        self.since_s = time.monotonic()
        self._begin_message()

    # Transport callbacks

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self._transport = transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if isinstance(address, tuple) else ""
        self._shared.connections.add(self)
        self._shared.metrics.connections = len(self._shared.connections)
        if len(self._shared.connections) > self._limits.connections_max:
            transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._shared.metrics.connections = len(self._shared.connections)
        self._is_closing = True
        self._drop_queue()
        if self._pending is not None:
            self._pending.cancel()

    @override
    def eof_received(self) -> bool:
        # A client that only half-closes still gets the answers it waits for.
        self._has_eof = True
        return bool(self._queue)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self.waiting is Waiting.IDLE:
            self._wait_for(Waiting.HEAD)
        self._field_bytes += len(data)
        # Checked on raw bytes too: the parser itself collects a header, or a trailer field, of any length.
        if self._field_bytes > self._limits.head_bytes_max + MEBIBYTE:
            self._refuse_fields()
            self._advance()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(RequestReason.MALFORMED, "protocol upgrades are not offered here")
        except httptools.HttpParserError:
            self._refuse(RequestReason.MALFORMED, "the request is not valid HTTP/1.1")
        self._advance()

    @override
    def pause_writing(self) -> None:
        # The client doesn't read: nothing more is answered, so nothing more is kept for it.
        self._is_writable = False

    @override
    def resume_writing(self) -> None:
        self._is_writable = True
        self._advance()

    # Parser callbacks

    def on_message_begin(self) -> None:
        self._begin_message()
        self._is_parsing = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes_max:
            self._refuse(RequestReason.URL_TOO_LONG, f"the URL has more than {self._limits.url_bytes_max} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_count > self._limits.headers_max or self._header_bytes > self._limits.head_bytes_max:
            self._refuse_fields()
            return
        # Trailer fields arrive here as well. They count against the head's bound and are dropped: none of ours may
        # stand in a trailer, and merged into the headers they would bypass whoever checked those.
        # Source: RFC 9110, 6.5.1
        if not self._has_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._is_closing:
            return
        self._wait_for(Waiting.BODY)
        headers = self._headers
        if b"host" not in headers and self._parser.get_http_version() == "1.1":
            self._refuse(RequestReason.MALFORMED, "the Host header is missing")
            return
        length = headers.get(b"content-length")
        if length is not None and (len(length) > 18 or int(length) > self._limits.body_bytes_max):
            self._refuse_body()
            return
        expects = headers.get(b"expect")
        if expects is None:
            return
        if expects.lower() != b"100-continue":
            self._refuse(RequestReason.EXPECTATION, "only 100-continue may be expected")
        elif self._transport is not None and not self._queue and self._pending is None:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        if self._is_closing:
            return
        self._field_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes_max:
            self._refuse_body()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._is_parsing = False
        if self._is_closing:
            return
        parser = self._parser
        path = self._url.partition(b"?")[0].decode("latin-1")
        request = Request(
            method=parser.get_method().decode("latin-1"),
            path=unquote(path) if "%" in path else path,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            peer=self._peer,
        )
        self._push(_Message(request=request, keep_alive=parser.should_keep_alive()))
        self._body = []

    # Requests, in order

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._field_bytes = 0
        self._has_head = False
        self._body = []
        self._body_bytes = 0

    def _push(self, message: _Message) -> None:
        message.arrived_s = time.perf_counter()
        self._queue.append(message)
        self._shared.in_flight += 1
        if len(self._queue) > self._limits.pipelined_max and self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _advance(self) -> None:
        """Answers what has queued, until an answer has to be waited for."""
        while self._queue and self._pending is None and self._is_writable:
            message = self._queue[0]
            if message.refused is not None:
                self._finish(message, refusals.answer(message.refused))
                continue
            self._wait_for(Waiting.ANSWER)
            answer = self._shared.handle(message.request)
            if isinstance(answer, Response):
                self._finish(message, answer)
            else:
                self._pending = answer
                answer.add_done_callback(self._resume)
        if self._is_paused and not self._queue and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _resume(self, done: asyncio.Future[Response]) -> None:
        self._pending = None
        if done.cancelled() or not self._queue:
            # The client is gone: nobody to answer.
            return
        error = done.exception()
        if error is not None:
            LOG.error("a prediction failed outside of the model", exc_info=error)
        response = (
            done.result()
            if error is None
            else refusals.answer(RequestError(RequestReason.INTERNAL, "the replica failed to answer"))
        )
        self._finish(self._queue[0], response)
        self._advance()

    def _finish(self, message: _Message, response: Response) -> None:
        shared = self._shared
        self._queue.popleft()
        shared.in_flight -= 1
        is_last = self._has_eof and not self._queue
        keep_alive = message.keep_alive and not (shared.is_draining or is_last)
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(shared.writer.render(message.request, response, keep_alive=keep_alive))
        shared.answered(message.request, response)
        shared.metrics.answered(response.protocol, response.status, time.perf_counter() - message.arrived_s)
        if not keep_alive:
            self._close_gently()
        elif not self._queue:
            self._wait_for((Waiting.BODY if self._has_head else Waiting.HEAD) if self._is_parsing else Waiting.IDLE)

    # Ends

    def _refuse_body(self) -> None:
        self._refuse(RequestReason.TOO_LARGE, f"the body has more than {self._limits.body_bytes_max} bytes")

    def _refuse_fields(self) -> None:
        self._refuse(RequestReason.HEADERS_TOO_LARGE, "the request has too many or too large headers or trailers")

    def _refuse(self, reason: RequestReason, sentence: str) -> None:
        """Answers behind what has queued, then closes; what else the client sends is dropped."""
        if self._is_closing:
            return
        self._is_closing = True
        self._body = []
        request = Request(method="GET", path="", headers={}, body=b"")
        self._push(_Message(request=request, keep_alive=False, refused=RequestError(reason, sentence)))

    def _close_gently(self) -> None:
        """Half-closes and lets the client read: closing with unread input would reset it and lose the answer."""
        self._is_closing = True
        self._drop_queue()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._wait_for(Waiting.LINGER)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _drop_queue(self) -> None:
        self._shared.in_flight -= len(self._queue)
        self._queue.clear()

    def close_if_idle(self) -> None:
        if self.waiting is Waiting.IDLE and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now_s: float) -> None:
        """Ends a connection that has waited too long for its client."""
        waited_s = now_s - self.since_s
        limits = self._limits
        match self.waiting:
            case Waiting.IDLE if waited_s > limits.idle_timeout_s and self._transport is not None:
                self._transport.close()
            case Waiting.HEAD if waited_s > limits.head_timeout_s:
                self._time_out("the request's head did not arrive in time")
            case Waiting.BODY if waited_s > limits.body_timeout_s:
                self._time_out("the request's body did not arrive in time")
            case Waiting.LINGER if waited_s > limits.linger_s:
                self.abort()
            case Waiting.ANSWER if waited_s > limits.write_timeout_s and self._pending is None:
                self.abort()
            case _:
                pass

    def _time_out(self, sentence: str) -> None:
        self._refuse(RequestReason.SLOW_CLIENT, sentence)
        self._advance()

    def _wait_for(self, what: Waiting) -> None:
        self.waiting = what
        self.since_s = time.monotonic()
