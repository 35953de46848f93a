"""One JSON request over aiohttp with a deadline, counted, its failures told as our own errors."""

from __future__ import annotations

import json
import ssl
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
OnRequest = Callable[[str, str, float], None]  # verb, code, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout_s: float = 10.0
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
        except ValueError as error:
            raise errors.Unreachable("the answer is not whole JSON") from error

    def excerpt(self) -> str:
        """The first words of the body, for a message."""
        return " ".join(self.body[:BODY_EXCERPT_MAX].decode("utf-8", "replace").split())


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
        """The answer, whatever its code; Unreachable where there was none or it was cut."""
        if self._session is None:
            # No cookies: Ray would set an authentication cookie that outlives a rotated token.
            connector = aiohttp.TCPConnector(limit_per_host=CONNECTIONS_PER_HOST, ssl=self._route.tls or True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        headers = {"User-Agent": USER_AGENT, **request.headers}
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
                body = await answer.read()
                return Answer(code=answer.status, headers=answer.headers, body=body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            words = str(error) or f"no answer within {request.timeout_s:g} s"
            raise errors.Unreachable(f"{who}: {request.method} {request.url}: {words}") from error
        finally:
            on_request(request.verb or request.method, code, self._clock.monotonic_s() - started_s)
