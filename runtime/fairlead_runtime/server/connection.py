"""One client connection: bytes to requests, answers to bytes, in order and within limits.

An answer is one `write` of head and body: a replica that dies has sent it whole or not begun, so the gateway may retry.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from typing_extensions import override

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.protocols import refusals
from fairlead_runtime.protocols.http import Answer, Request, Response
from fairlead_runtime.server.delivery import Delivery, unacknowledged
from fairlead_runtime.server.limits import ServerLimits
from fairlead_runtime.server.parser import RequestParser
from fairlead_runtime.server.writer import ResponseWriter

LOG = logging.getLogger(__name__)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PIECE_BYTES = 16 * 1024
"""What is parsed before answers are made of it: a read may hold thousands of short requests."""

ANSWERS_PER_TURN = 8
"""Of one connection, before the loop serves the others."""


class Waiting(StrEnum):
    """What a connection waits for, which decides how long it may."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    LINGER = "linger"


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the connections of one server have in common."""

    handle: Callable[[Request], Answer]
    check_head: Callable[[Mapping[bytes, bytes]], None]
    """Called with each request's headers before its body is read; raises RequestError to refuse it."""
    limits: ServerLimits
    metrics: ReplicaMetrics
    writer: ResponseWriter
    close: Callable[[], None]
    on_answer: Sequence[Callable[[Request, Response], None]] = ()
    """Called in order after each written answer. They must neither block nor raise."""
    record: Callable[[Request, Response, float], None] | None = None
    """Where requests are traced, called likewise, with when the request was there whole."""
    finish: Sequence[Callable[[], Awaitable[None]]] = ()
    """Awaited in order once no connection is left."""
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
        self._parser = RequestParser(self._limits, "", self)
        self._queue: deque[_Message] = deque()
        self._unparsed = b""
        self._has_next_turn = False
        self._pending: asyncio.Future[Response] | None = None
        self._is_paused = False
        self._is_closing = False
        self._is_writable = True
        self._delivery = Delivery()
        self.waiting = Waiting.IDLE
        self.since_s = time.monotonic()

    # Transport callbacks

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self._transport = transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        peer = str(address[0]) if isinstance(address, tuple) else ""
        self._parser = RequestParser(self._limits, peer, self)
        self._shared.connections.add(self)
        self._shared.metrics.connections = len(self._shared.connections)
        if len(self._shared.connections) > self._limits.connections_max:
            transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._shared.metrics.connections = len(self._shared.connections)
        self._give_up()

    @override
    def eof_received(self) -> bool:
        # To us a client that closed looks like one that only ended its side, and the gateway never does the latter. So
        # a client that closes its side before the answer is gone, and nothing is computed for it.
        self._give_up()
        return False

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self.waiting is Waiting.IDLE:
            self._wait_for(Waiting.HEAD)
        if self._unparsed:
            self._unparsed += data
            return
        self._parse_pieces(data)

    def _parse_pieces(self, data: bytes) -> None:
        """Parses until more requests wait for their answers than may; the rest is kept, and nothing more is read."""
        for start in range(0, len(data), PIECE_BYTES):
            if self._is_closing:
                return
            if self._is_full():
                self._unparsed = data[start:]
                self._pause()
                return
            self._parser.feed(data[start : start + PIECE_BYTES] if len(data) > PIECE_BYTES else data)
            self._advance()

    @override
    def pause_writing(self) -> None:
        # The client doesn't read: nothing more is answered, so nothing more is kept for it.
        self._is_writable = False

    @override
    def resume_writing(self) -> None:
        self._is_writable = True
        self._advance()

    # Requests, in order

    def take(self, request: Request, *, keep_alive: bool) -> None:
        """A whole request from the parser."""
        self._push(_Message(request=request, keep_alive=keep_alive))

    def begin_body(self, headers: Mapping[bytes, bytes]) -> None:
        """The parser has a whole head."""
        self._wait_for(Waiting.BODY)
        try:
            self._shared.check_head(headers)
        except RequestError as refused:
            self.refuse(refused.reason, refused.sentence)

    def invite_body(self) -> None:
        """The client expects 100 Continue; it gets it where no answer comes before."""
        if self._transport is not None and not self._queue and self._pending is None:
            self._transport.write(CONTINUE)

    def refuse(self, reason: RequestReason, sentence: str) -> None:
        """Answers behind what has queued, then closes; what else the client sends is dropped."""
        if self._is_closing:
            return
        self._is_closing = True
        self._parser.end()
        request = Request(method="GET", path="", headers={}, body=b"")
        self._push(_Message(request=request, keep_alive=False, refused=RequestError(reason, sentence)))

    def _push(self, message: _Message) -> None:
        message.arrived_s = time.perf_counter()
        self._queue.append(message)
        self._shared.in_flight += 1
        if self._is_full():
            self._pause()

    def _is_full(self) -> bool:
        return len(self._queue) > self._limits.pipelined_max

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Goes on with what was put off, once everything before it is answered."""
        if self._unparsed:
            self._ask_for_turn()
        elif self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _ask_for_turn(self) -> None:
        if not self._has_next_turn:
            self._has_next_turn = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._has_next_turn = False
        if self._queue:
            self._advance()
        else:
            unparsed, self._unparsed = self._unparsed, b""
            self._parse_pieces(unparsed)

    def _advance(self) -> None:
        """Answers what has queued, until an answer has to be waited for or others have their turn."""
        if self._has_next_turn:
            return
        left = ANSWERS_PER_TURN
        while self._queue and self._pending is None and self._is_writable:
            if not left:
                self._ask_for_turn()
                return
            left -= 1
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
        if not self._queue:
            self._read_on()

    def _resume(self, done: asyncio.Future[Response]) -> None:
        self._pending = None
        if done.cancelled() or not self._queue:
            # The client is gone, so there is nothing to answer.
            return
        error = done.exception()
        if error is not None:
            LOG.error("a prediction failed outside the model", exc_info=error)
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
        keep_alive = message.keep_alive and not shared.is_draining
        transport = self._transport
        if transport is not None and not transport.is_closing():
            raw = shared.writer.render(message.request, response, keep_alive=keep_alive)
            self._delivery.add(len(raw))
            transport.write(raw)
        for take in shared.on_answer:
            take(message.request, response)
        if shared.record is not None:
            shared.record(message.request, response, message.arrived_s)
        shared.metrics.count_answer(response.protocol, response.status, time.perf_counter() - message.arrived_s)
        if not keep_alive:
            self._close_gently()
        elif not self._queue:
            self._wait_for(self._next_wait())

    # Ends

    def _next_wait(self) -> Waiting:
        if not self._parser.is_within_message:
            return Waiting.IDLE
        return Waiting.BODY if self._parser.is_within_body else Waiting.HEAD

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

    def _give_up(self) -> None:
        """The client is gone, and with it what it waits for."""
        self._is_closing = True
        self._parser.end()
        self._shared.metrics.abandoned += len(self._queue)
        self._drop_queue()
        if self._pending is not None:
            self._pending.cancel()

    def _drop_queue(self) -> None:
        self._shared.in_flight -= len(self._queue)
        self._queue.clear()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is in progress."""
        if self.waiting is Waiting.IDLE and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, with unsent answers."""
        if self._transport is not None:
            self._transport.abort()

    def is_finishing(self) -> bool:
        """Whether the client has yet to take what it was answered, or to close its side."""
        return self.waiting is Waiting.LINGER or self._unsent_bytes() > 0

    def _unsent_bytes(self) -> int:
        """What the client hasn't acknowledged: in the transport's buffer and in the kernel's."""
        if self._transport is None or not self._delivery.is_open:
            return 0
        unsent = self._transport.get_write_buffer_size() + unacknowledged(self._transport)
        self._delivery.is_open = unsent > 0
        return unsent

    def check_time(self, now_s: float) -> None:
        """Ends a connection that has waited too long for its client."""
        unsent = self._unsent_bytes()
        if unsent and self._delivery.is_stuck(unsent, now_s, self._limits.write_timeout_s):
            self.abort()
            return
        if unsent and self.waiting in (Waiting.IDLE, Waiting.LINGER):
            # Both begin once the client has what it was answered.
            self.since_s = now_s
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
            case _:
                pass

    def _time_out(self, sentence: str) -> None:
        self.refuse(RequestReason.SLOW_CLIENT, sentence)
        self._advance()

    def _wait_for(self, what: Waiting) -> None:
        self.waiting = what
        self.since_s = time.monotonic()
