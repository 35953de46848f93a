"""One JSON request over aiohttp: bounded in time and in size, counted, its failures raised as our own errors.

No answer is trusted to be small. The body is read up to the caller's bound and never unpacked: an endless answer, or a
small one that unpacks to a large one, would otherwise take the memory of the process that looks after every model.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock

USER_AGENT = "fairlead-operator"
BODY_EXCERPT_MAX = 500
CONNECT_TIMEOUT_S = 3.0
CONNECTIONS_PER_HOST = 32
_CHUNK_BYTES = 64 * 1024
log = logging.getLogger(__name__)
OnRequest = Callable[[str, str, float], None]  # verb, code, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout_s: float = 10.0
    answer_bytes_max: int
    """The longest body that is read; a longer one is ``errors.AnswerTooLong``."""
    verb: str | None = None
    """What it is counted as, where that isn't the method."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to get there, where the URL alone doesn't say it."""

    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | None = None


class HttpClient:
    """Connections are kept and shared. Close it at the end."""

    def __init__(self, *, clock: Clock, route: Route | None = None) -> None:
        self._clock = clock
        self._route = route or Route()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request, *, who: str, on_request: OnRequest) -> Answer:
        """The answer, whatever its code.

        Raises:
            errors.Unreachable: There was none, or it was cut; the address is in the log, not in the message.
            errors.AnswerTooLong: It has more than ``answer_bytes_max`` bytes.
        """
        if self._session is None:
            # No cookies: Ray would set an authentication cookie that outlives a rotated token.
            connector = aiohttp.TCPConnector(limit_per_host=CONNECTIONS_PER_HOST, ssl=self._route.tls or True)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        timeout = aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        started_s, code = self._clock.monotonic_s(), "none"
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=self._route.proxy,
                server_hostname=self._route.server_hostname,
            ) as answer:
                code = str(answer.status)
                body = await _read(answer, request.answer_bytes_max, who)
                return Answer(code=answer.status, headers=answer.headers, body=body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("request failed", extra={"url": request.url, "error": str(error) or type(error).__name__})
            raise errors.Unreachable(
                f"{who}: {request.method} {_path(request.url)}: {_describe(error, request.timeout_s)}"
            ) from error
        finally:
            on_request(request.verb or request.method, code, self._clock.monotonic_s() - started_s)


async def _read(answer: aiohttp.ClientResponse, bytes_max: int, who: str) -> bytes:
    too_long = errors.AnswerTooLong(f"{who}: the answer is longer than {bytes_max} bytes")
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


def _path(url: str) -> str:
    return urllib.parse.urlsplit(url).path


def _describe(error: Exception, timeout_s: float) -> str:
    """What went wrong, without the address: messages reach statuses, which tenants read."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the TLS connection could not be made"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {os.strerror(error.os_error.errno or 0)}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut off"
    return "the connection was lost"
