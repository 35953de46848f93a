"""One JSON request over aiohttp: bounded in time and in size, counted, its failures raised as our own errors.

No answer is trusted to be small. The body is read up to the caller's bound and never unpacked: an endless answer, or a
small one that unpacks to a large one, would otherwise take the memory of the process that looks after every model.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from typing_extensions import override

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock

USER_AGENT = "fairlead-operator"
BODY_EXCERPT_MAX = 500
CONNECT_TIMEOUT_S = 3.0
CONNECTIONS_PER_HOST = 32
_CHUNK_BYTES = 64 * 1024
log = logging.getLogger(__name__)
READS = frozenset({"GET", "HEAD"})
WRITE_MARGIN_S = 1.0
"""So long before the Lease may belong to another process, the last write has been answered or given up."""
WRITE_LEAST_S = 2.0
"""A write that would have less time than this is not sent."""
OnRequest = Callable[[str, str, float], None]  # verb, code, seconds


class Lease(Protocol):
    """The right to write."""

    def remaining_s(self) -> float:
        """How long no other process can have it, in seconds; 0 when it is not ours."""

    @property
    def has_run_out(self) -> bool:
        """Whether it was ours, and another process may have taken it since."""


class _LeaseSocket(socket.socket):
    """Sends nothing once the Lease has run out.

    A process may be stopped between the moment when a request is allowed and the moment when its bytes are sent, and
    asyncio sends from several places; all of them end here.
    """

    lease: Lease | None = None

    @override
    def send(self, data: Any, flags: int = 0, /) -> int:
        if self.lease is not None and self.lease.has_run_out:
            raise ConnectionAbortedError("the Lease has run out")
        return super().send(data, flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout_s: float = 10.0
    answer_bytes_max: int
    """The longest body that is read; a longer one is ``errors.AnswerTooLong``."""
    answer_values_max: int | None = None
    """The most values of a JSON body: one of empty lists takes 30 times its bytes in memory, and seconds to parse.

    More are ``errors.AnswerTooLong``. A comma, a list and an object count as one each, also within a text.
    """
    verb: str | None = None
    """What it is counted as, where that isn't the method."""
    least_s: float = WRITE_LEAST_S
    """The shortest deadline that makes sense; a write is not sent when the Lease ends sooner."""
    is_write: bool = True
    """False where the method is one of a write and the request changes nothing (a prediction)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body parsed; a cut or broken one is Unreachable, because then nothing is known."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise errors.Unreachable("the answer is not whole JSON") from error

    def excerpt(self) -> str:
        """The first words of the body, for a message: one line of printable characters."""
        text = self.body[:BODY_EXCERPT_MAX].decode("utf-8", "replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    def describe(self) -> str:
        """The status and the first words of the body, as the cause of a failure."""
        return f"HTTP status {self.code}: {self.excerpt()}".removesuffix(": ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to get there, where the URL alone doesn't say it."""

    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | None = None


class HttpClient:
    """Connections are kept and shared. Close it at the end.

    The one place that every write passes: with a ``lease``, none is sent, and none is still under way, when another
    process may hold it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        route: Route | None = None,
        lease: Lease | None = None,
        connections: int = CONNECTIONS_PER_HOST,
    ) -> None:
        """Without a ``lease`` writes are not limited: for the Lease itself, and for tests.

        ``connections`` limits those to one host; 0 is no limit.
        """
        self._clock = clock
        self._connections = connections
        self._lease = lease
        self._writes_under_way = 0
        self._route = route or Route()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def writes_under_way(self) -> int:
        """Writes that were sent and neither answered nor given up."""
        return self._writes_under_way

    async def send(self, request: Request, *, who: str, on_request: OnRequest) -> Answer:
        """The answer, whatever its code.

        Raises:
            errors.Unreachable: There was none, or it was cut; the address is in the log, not in the message.
            errors.AnswerTooLong: It has more than ``answer_bytes_max`` bytes or ``answer_values_max`` values.
            errors.RetryLater: It is a write and the Lease has too little time left; nothing was sent.
        """
        is_write = request.is_write and request.method not in READS
        timeout_s = self._limit_to_lease(request) if is_write else request.timeout_s
        self._writes_under_way += is_write
        try:
            return await self._send(request, timeout_s, who=who, on_request=on_request)
        finally:
            self._writes_under_way -= is_write

    def _request(self, request: Request, timeout: aiohttp.ClientTimeout) -> Any:
        if self._session is None:
            # No cookies: Ray would set an authentication cookie that outlives a rotated token.
            connector = aiohttp.TCPConnector(
                limit_per_host=self._connections,
                ssl=self._route.tls or True,
                socket_factory=self._open_socket if self._lease is not None else None,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session.request(
            request.method,
            request.url,
            data=request.body,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers},
            timeout=timeout,
            allow_redirects=False,
            proxy=self._route.proxy,
            server_hostname=self._route.server_hostname,
        )

    def _open_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = _LeaseSocket(family, kind, protocol)
        opened.lease = self._lease
        return opened

    def _limit_to_lease(self, request: Request) -> float:
        """The deadline of a write in seconds: it ends before the Lease may belong to another process."""
        if self._lease is None:
            return request.timeout_s
        left_s = self._lease.remaining_s() - WRITE_MARGIN_S
        if left_s < request.least_s:
            raise errors.RetryLater("the Lease has too little time left for a write", retry_after_s=1.0)
        return min(request.timeout_s, left_s)

    async def stream_lines(
        self, request: Request, *, who: str, on_request: OnRequest, check: Callable[[Answer], object]
    ) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on; ``timeout_s`` is how long it may be silent.

        ``check`` gets an answer of 400 or more and raises what it means.

        Raises:
            errors.Unreachable: There was no answer, it was cut or it fell silent.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=request.timeout_s)
        code, rest = "none", b""
        try:
            async with self._request(request, timeout) as answer:
                code = str(answer.status)
                if answer.status >= 400:
                    check(
                        Answer(
                            code=answer.status,
                            headers=answer.headers,
                            body=await _read(answer, request.answer_bytes_max, who),
                        )
                    )
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("stream ended", extra={"url": request.url, "error": str(error) or type(error).__name__})
            raise _unreachable(request, who, error, request.timeout_s) from error
        finally:
            on_request(request.verb or request.method, code, 0.0)

    async def _send(self, request: Request, timeout_s: float, *, who: str, on_request: OnRequest) -> Answer:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        started_s, code = self._clock.monotonic_s(), "none"
        try:
            async with self._request(request, timeout) as answer:
                code = str(answer.status)
                body = await _read(answer, request.answer_bytes_max, who)
                if request.answer_values_max is not None:
                    _require_few_values(body, request.answer_values_max, who)
                return Answer(code=answer.status, headers=answer.headers, body=body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("request failed", extra={"url": request.url, "error": str(error) or type(error).__name__})
            raise _unreachable(request, who, error, timeout_s) from error
        finally:
            on_request(request.verb or request.method, code, self._clock.monotonic_s() - started_s)


def _require_few_values(body: bytes, values_max: int, who: str) -> None:
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > values_max:
        words = f"the answer has more than {values_max} values"
        raise errors.AnswerTooLong(f"{who}: {words}", cause=words)


async def _read(answer: aiohttp.ClientResponse, bytes_max: int, who: str) -> bytes:
    words = f"the answer is longer than {bytes_max} bytes"
    too_long = errors.AnswerTooLong(f"{who}: {words}", cause=words)
    if answer.content_length is not None and answer.content_length > bytes_max:
        answer.close()
        raise too_long
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_chunked(_CHUNK_BYTES):
        size += len(part)
        if size > bytes_max:
            answer.close()
            raise too_long
        parts.append(part)
    return b"".join(parts)


def _unreachable(request: Request, who: str, error: Exception, timeout_s: float) -> errors.Unreachable:
    cause = _describe(error, timeout_s)
    path = urllib.parse.urlsplit(request.url).path
    return errors.Unreachable(f"{who}: {request.method} {path}: {cause}", cause=cause)


def _describe(error: Exception, timeout_s: float) -> str:
    """What went wrong, without the address: messages reach statuses, which tenants read."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the TLS connection could not be made"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name could not be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        words = os.strerror(number) if number is not None and number > 0 else "no connection"
        return words[:1].lower() + words[1:]
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut off"
    return "the connection was lost"
