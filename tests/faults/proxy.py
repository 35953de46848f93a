"""A reverse proxy that does what the script says: plain HTTP/1.1 in front, the real server behind, by TLS if it has it.

Usable before the kube-apiserver (watches are streamed line by line), before Ray and before both ports of a gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import yarl
from aiohttp import web
from tests.faults.script import CODES, HAPPENED, Kind, Script
from tests.support.http_thread import HttpThread

HELD_S = 2.0
STRIKE_POLL_S = 0.05
FOREVER_S = 3600.0
BODY_MAX_BYTES = 64 * 2**20
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
)
EMPTY_SERVE = b'{"controller_info": {}, "proxies": {}, "applications": {}, "target_capacity": null}'


class FaultProxy(HttpThread):
    """``target`` is what the script knows it as: ``api``, ``ray``, ``gateway data`` or ``gateway admin``."""

    def __init__(self, target: str, upstream: str, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._application)
        self._target = target
        self._upstream = upstream.rstrip("/")
        self._script = script
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=BODY_MAX_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.cleanup_ctx.append(self._sessions)
        return application

    async def _sessions(self, _application: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as self._session:
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") in ("true", "1"):
            return await self._stream(request)
        body = await request.read()
        begun = self._script.begin(self._target, request.method, request.path, body)
        if begun is None:
            struck = self._script.read(self._target, request.path)
            return await (self._forward(request, body) if struck is None else self._fail_read(request, body, struck))
        write, fault = begun
        if fault is None or fault in HAPPENED:
            try:
                answer = await self._forward(request, body)
                write.code = answer.status
            finally:
                self._script.ended(write)
            return answer if fault is None else await self._lose(request, answer, fault)
        return await self._refuse(request, fault)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        url = yarl.URL(self._upstream + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, data=body or None, headers=_passed_on(request.headers), allow_redirects=False
        ) as answer:
            content = await answer.read()
            return web.Response(status=answer.status, body=content, headers=_passed_on(answer.headers))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """A watch: whole lines, so that one event is held back, lost or passed on."""
        assert self._session is not None
        url = yarl.URL(self._upstream + request.raw_path, encoded=True)
        opened_at_s = time.monotonic()
        async with self._session.get(url, headers=_passed_on(request.headers)) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
            await response.prepare(request)
            lines: asyncio.Queue[bytes] = asyncio.Queue()
            reading = asyncio.create_task(_read_lines(answer, lines))
            try:
                with contextlib.suppress(aiohttp.ClientConnectionResetError):  # the operator was killed
                    await self._pass_lines(request, response, lines, opened_at_s)
            finally:
                reading.cancel()
            return response

    async def _pass_lines(
        self, request: web.Request, response: web.StreamResponse, lines: asyncio.Queue[bytes], opened_at_s: float
    ) -> None:
        while True:
            try:
                # A stream in which nothing is sent just then is struck, too.
                async with asyncio.timeout(STRIKE_POLL_S if self._script.may_strike_watches else None):
                    line = await lines.get()
            except TimeoutError:
                line = None
            if line == b"":
                return
            match self._script.watch(opened_at_s, request.path):
                case (Kind.WATCH_CUT, _):
                    _close(request)
                    return
                case (Kind.WATCH_LOST, _):
                    continue
                case (Kind.WATCH_HELD, since_s) if time.monotonic() - since_s < HELD_S:
                    await asyncio.sleep(max(0.0, since_s + HELD_S - time.monotonic()))
            if line is not None:
                await response.write(line)

    async def _refuse(self, request: web.Request, fault: Kind) -> web.StreamResponse:
        """Nothing is forwarded."""
        if fault in CODES:
            return self._failure(CODES[fault])
        if fault is Kind.HANG_BEFORE:
            await asyncio.sleep(FOREVER_S)
        _close(request)
        return web.Response(status=500)

    async def _lose(self, request: web.Request, answer: web.Response, fault: Kind) -> web.StreamResponse:
        """It happened, and the operator doesn't learn of it."""
        if fault is Kind.KILL_AFTER:
            self._script.killed_after()
        elif fault is Kind.HANG_AFTER:
            await asyncio.sleep(FOREVER_S)
        elif fault is Kind.CUT:
            return await _cut(request, answer)
        _close(request)
        return answer

    async def _fail_read(self, request: web.Request, body: bytes, fault: Kind) -> web.StreamResponse:
        if fault is Kind.RAY_EMPTY:
            return web.Response(body=EMPTY_SERVE, content_type="application/json")
        if fault is Kind.GATEWAY_CUT:
            return await _cut(request, await self._forward(request, body))
        if fault is Kind.GATEWAY_READS:
            _close(request)
        return self._failure(503)

    def _failure(self, code: int) -> web.Response:
        reason = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[code]
        headers = {"Retry-After": "1"} if code == 429 else {}
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        return web.json_response({**status, "message": f"the fault proxy says {code}"}, status=code, headers=headers)


async def _read_lines(answer: aiohttp.ClientResponse, lines: asyncio.Queue[bytes]) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        while line := await answer.content.readline():
            lines.put_nowait(line)
    lines.put_nowait(b"")


async def _cut(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Half of the body, or of what the length promised, and then nothing."""
    content = bytes(answer.body) if isinstance(answer.body, bytes | bytearray) else b""
    headers = {**_passed_on(answer.headers), "Content-Length": str(max(2, len(content)))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    _close(request)
    return response


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
