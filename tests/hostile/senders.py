"""Sends hostile requests, and judges each answer by itself: what is returned is what the answer must not be."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable
from random import Random
from typing import Protocol

import grpc
from tests.hostile import mutations

WAIT_S = 60.0
REFUSED = range(400, 499)
"""499 is a client that left, and none of these leaves."""
CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}
"""With which a call may be refused."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_ID = re.compile(rb"\r\nx-request-id: ([^\r\n]+)\r\n", re.IGNORECASE)


class Sender(Protocol):
    """One client. ``send`` gives the kind of answer, such as its status, and a fault if the answer shows one."""

    def send(self, chosen: Random, number: int) -> tuple[str, str | None]: ...

    def close(self) -> None: ...


class Http:
    """Requests over kept connections, by Python's own client."""

    def __init__(self, port: int, draw: Callable[[Random], mutations.Asked]) -> None:
        self._draw = draw
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)

    def close(self) -> None:
        self._client.close()

    def send(self, chosen: Random, number: int) -> tuple[str, str | None]:
        asked, request_id = self._draw(chosen), f"hostile-{number}"
        try:
            self._client.request(asked.method, asked.path, asked.body, {**asked.headers, "x-request-id": request_id})
            answer = self._client.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._client.close()
            return "no answer", f"{request_id}: {type(error).__name__}: {error} for {asked}"
        return str(answer.status), _judge(answer, body, request_id, asked)


def _judge(answer: http.client.HTTPResponse, body: bytes, request_id: str, asked: mutations.Asked) -> str | None:
    if answer.headers["x-request-id"] != request_id:
        return f"{request_id}: the answer to {answer.headers['x-request-id']}"
    if answer.status != 200 and answer.status not in REFUSED:
        return f"{request_id}: {answer.status} {body[:300]!r} for {asked}"
    if answer.status != 200:
        with contextlib.suppress(ValueError):
            if isinstance(json.loads(body)["error"], str):
                return None
        return f"{request_id}: {answer.status} without a reason: {body[:300]!r} for {asked}"
    return None


class Grpc:
    """Calls by grpcio's client, with messages that are no messages."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])

    def close(self) -> None:
        self._channel.close()

    def send(self, chosen: Random, number: int) -> tuple[str, str | None]:
        call = mutations.draw_call(chosen)
        method = self._channel.unary_unary(
            call.method, request_serializer=lambda message: message, response_deserializer=lambda answer: answer
        )
        try:
            method(call.message, timeout=WAIT_S)
        except grpc.RpcError as error:
            code = error.code()
            words = f"call {number}: {code}: {error.details()} for {call.method} {call.message[:200].hex()}"
            return code.name, None if code in CODES else words
        return "OK", None


class Streams:
    """Bytes on connections of their own, each read to its end."""

    def __init__(self, port: int) -> None:
        self._port = port

    def close(self) -> None:
        """Each connection has been closed."""

    def send(self, chosen: Random, number: int) -> tuple[str, str | None]:
        stream = mutations.draw_stream(chosen, number)
        raw = bytearray()
        with socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as client:
            with contextlib.suppress(ConnectionError):  # refused before its end was read
                client.sendall(stream.data)
            try:
                while data := client.recv(1 << 16):
                    raw += data
            except ConnectionResetError:
                pass
            except TimeoutError:
                return "open", f"stream {number}: still open after {WAIT_S:g} s: {stream.data[:600]!r}"
        return _judge_stream(bytes(raw), stream, number)


def _judge_stream(raw: bytes, stream: mutations.Stream, number: int) -> tuple[str, str | None]:
    """At most one answer for each of the two requests, in order, none for what is within a body, and no 5xx."""
    heads = [raw[match.start() :].partition(b"\r\n\r\n")[0] + b"\r\n" for match in _STATUS_LINE.finditer(raw)]
    codes = [int(head.split(b" ", 2)[1]) for head in heads]
    finals = [(code, head) for code, head in zip(codes, heads, strict=True) if code >= 200]
    kind = ",".join(str(code) for code, _ in finals) or "closed"
    ids = [found.group(1).decode("latin-1") for _, head in finals if (found := _ID.search(head)) is not None]
    words = f"stream {number}: {kind} {ids} for {stream.data[:600]!r}"
    expected = [stream.first, *([stream.smuggled] if stream.is_ended else []), stream.last]
    if stream.smuggled in ids and not stream.is_ended:
        return kind, f"a smuggled request was answered: {words}"
    if len(finals) > len(expected) or [each for each in expected if each in ids] != ids:
        return kind, f"answers to no request, in another order, or twice: {words}"
    if any(code >= 500 for code, _ in finals if code not in (501, 505)):
        return kind, words
    return kind, None
