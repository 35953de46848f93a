"""Sends copies of answered requests to a candidate by way of the gateway, and counts how its answers compare.

A client has its answer before a copy is queued. The queue is bounded in number and bytes; few copies are under
way at once; what does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from fairlead_runtime.analysis_counters import AnalysisCounters
from fairlead_runtime.protocols import encoding, handler, v1_rest, v2_rest
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.shadow import compare, mark

LOG = logging.getLogger(__name__)
QUEUED_MAX = 64
QUEUED_BYTES_MAX = 16 * 1024 * 1024
IN_FLIGHT_MAX = 4
ANSWER_BYTES_MAX = 16 * 1024 * 1024
_PASSED_ON = (b"content-type", encoding.HEADER, v2_rest.HEADER_LENGTH, b"x-request-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the copies of one model need to know."""

    model: str
    timeout_s: float
    sign: Callable[[str], str]
    """The value of the header that says of a request that it is a copy for this candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    host: str
    to: mark.Mark
    request: Request
    response: Response

    @property
    def bytes_held(self) -> int:
        return len(self.request.body) + len(self.response.body)


class Mirror:
    """Lives on the server's loop."""

    def __init__(self, settings: Settings, measured: AnalysisCounters, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._measured = measured
        self._loop = loop
        self._queue: deque[_Copy] = deque()
        self._bytes_held = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._judges = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="fairlead-shadow")
        self._last: tuple[bytes, mark.Mark | None] = (b"", None)
        self._paths = {
            v2_rest.PROTOCOL: f"/v2/models/{settings.model}/infer",
            v1_rest.PROTOCOL: f"{v1_rest.PREFIX}{settings.model}:predict",
        }

    def offer(self, request: Request, response: Response) -> None:
        """Queue a copy of a request that was answered, where its mark asks for one. Never waits, never raises."""
        to = self._mark(request)
        if to is None or response.status != 200 or not _is_prediction(request.path):
            return
        host = mark.url_host(request.peer)
        if host is None:
            return
        copy = _Copy(host=host, to=to, request=request, response=response)
        if len(self._queue) >= QUEUED_MAX or self._bytes_held + copy.bytes_held > QUEUED_BYTES_MAX:
            self._measured.pairs(to.candidate).dropped += 1
            return
        self._queue.append(copy)
        self._bytes_held += copy.bytes_held
        if len(self._workers) < IN_FLIGHT_MAX:
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self) -> None:
        """Give up what is queued or under way."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._queue.clear()
        if self._session is not None:
            await self._session.close()
        self._judges.shutdown(wait=False, cancel_futures=True)

    def _mark(self, request: Request) -> mark.Mark | None:
        value = request.headers.get(mark.HEADER)
        if value is None or handler.COPY_HEADER in request.headers:
            return None
        if value != self._last[0]:
            self._last = (value, mark.parse(value))
        return self._last[1]

    async def _work(self) -> None:
        while self._queue:
            copy = self._queue.popleft()
            self._bytes_held -= copy.bytes_held
            pairs = self._measured.pairs(copy.to.candidate)
            try:
                is_different = await self._send(copy)
            except (aiohttp.ClientError, TimeoutError, OSError, compare.UnreadableError) as error:
                LOG.debug("copy failed candidate=%s error=%s", copy.to.candidate, error)
                pairs.failed += 1
            except Exception:
                # The outermost place for one copy: the others are still sent, and the cause is in the log.
                LOG.exception("copy failed candidate=%s", copy.to.candidate)
                pairs.failed += 1
            else:
                pairs.pairs += 1
                pairs.disagreed += is_different

    async def _send(self, copy: _Copy) -> bool:
        """Whether the candidate answers differently. Raises what kept it from answering."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
            connector = aiohttp.TCPConnector(limit=IN_FLIGHT_MAX)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False)
        protocol = copy.response.protocol
        # The path is ours, and so it can't name another revision, model or verb.
        url = f"http://{copy.host}:{copy.to.port}{self._paths[protocol]}"
        headers = {
            name.decode(): copy.request.headers[name].decode("latin-1") for name in self._headers_to_forward(copy)
        }
        headers["x-fairlead-revision"] = copy.to.candidate
        headers["accept-encoding"] = "identity"
        headers[handler.COPY_HEADER.decode()] = self._settings.sign(copy.to.candidate)
        async with self._session.post(url, data=copy.request.body, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200 or answer.headers.get("x-fairlead-revision") != copy.to.candidate:
                raise aiohttp.ClientPayloadError(f"the candidate answered {answer.status}")
            body = await self._read(answer)
            their_length = answer.headers.get(v2_rest.HEADER_LENGTH.decode())
        our_length = dict(copy.response.headers).get(v2_rest.HEADER_LENGTH)

        def judge() -> bool:
            ours = compare.decode(copy.response.body, our_length, protocol=protocol)
            theirs = compare.decode(body, their_length.encode() if their_length else None, protocol=protocol)
            return compare.is_different(ours, theirs)

        # Not on the loop: clients wait there, and both answers may be large.
        return await self._loop.run_in_executor(self._judges, judge)

    def _headers_to_forward(self, copy: _Copy) -> list[bytes]:
        return [name for name in _PASSED_ON if name in copy.request.headers]

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_any():
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                raise aiohttp.ClientPayloadError("the candidate's answer is too large")
            parts.append(part)
        return b"".join(parts)


def _is_prediction(path: str) -> bool:
    """Whether requests to this path are copied; classify, regress and metadata are not."""
    return path.endswith(("/infer", ":predict"))
