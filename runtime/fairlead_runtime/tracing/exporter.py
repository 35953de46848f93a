"""Sends recorded requests to a collector by OTLP over HTTP, on a thread of its own, and counts what it can't send.

Neither a slow collector nor one that answers wrongly holds up a request: the queue is bounded, and what finds it full
is dropped. A redirect is not followed, and of an answer no more is read than an answer needs.
Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiohttp

from fairlead_runtime.span_counters import SpanCounters
from fairlead_runtime.tracing import otlp
from fairlead_runtime.tracing.span import AnsweredRequest
from fairlead_runtime.tracing.tracer import Names

LOG = logging.getLogger(__name__)
QUEUED_MAX = 2048
"""Requests that wait to be sent; each takes some two kibibytes."""

BATCH_MAX = 128
COLLECT_S = 2.0
"""How long a batch that is not full waits for more requests."""

TIMEOUT_S = 10.0
ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt, and twice as long before the third."""

CLOSE_S = 2.0
ANSWER_BYTES_MAX = 64 * 1024
_PATH = "/v1/traces"
_HEADERS = {"content-type": "application/x-protobuf", "accept": "application/x-protobuf", "accept-encoding": "identity"}
_AGAIN = frozenset({429, 502, 503, 504})


class Outcome(StrEnum):
    """What became of one attempt."""

    SENT = "sent"
    FAILED = "failed"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where spans go; `tls` is for a collector with `https`."""

    endpoint: str
    names: Names
    tls: ssl.SSLContext
    timeout_s: float = TIMEOUT_S
    pause_s: float = PAUSE_S
    collect_s: float = COLLECT_S


class Exporter:
    """`offer` is called on the server's loop, `close` on any thread."""

    def __init__(self, settings: Settings, counted: SpanCounters) -> None:
        self._settings = settings
        self._counted = counted
        self._url = settings.endpoint.rstrip("/") + _PATH
        self._queue: deque[AnsweredRequest] = deque()
        self._some = threading.Event()
        self._full = threading.Event()
        self._closing = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name="fairlead-spans", daemon=True)
        self._thread.start()

    def offer(self, request: AnsweredRequest) -> None:
        """Queue a request, or drop it where too many wait."""
        waiting = len(self._queue)
        if waiting >= QUEUED_MAX or self._closing.is_set():
            self._counted.dropped += request.spans
            return
        self._queue.append(request)
        if not self._some.is_set():
            self._some.set()
        if waiting + 1 >= BATCH_MAX:
            self._full.set()

    def close(self) -> None:
        """Sends what waits, if the collector takes it within a moment. Blocks as long at most."""
        self._closing.set()
        self._full.set()
        self._some.set()
        self._thread.join(timeout=CLOSE_S)

    def _work(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._full.wait(self._settings.collect_s)
            # Before the queue is emptied: what comes meanwhile sets them again.
            self._some.clear()
            self._full.clear()
            while batch := self._take():
                self._send(batch)

    def _take(self) -> list[AnsweredRequest]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]

    def _send(self, batch: Sequence[AnsweredRequest]) -> None:
        body = otlp.write(self._settings.names, batch)
        spans = sum(request.spans for request in batch)
        for attempt in range(ATTEMPTS):
            outcome, refused, why = asyncio.run(self._post(body))
            if outcome is Outcome.SENT:
                self._counted.sent += spans - min(refused, spans)
                self._counted.refused += min(refused, spans)
                self._log(why)
                return
            if outcome is Outcome.FAILED or attempt + 1 == ATTEMPTS:
                break
            if self._closing.wait(self._settings.pause_s * 2**attempt):
                break
        self._counted.failed += spans
        self._log(why)

    async def _post(self, body: bytes) -> tuple[Outcome, int, str]:
        """One attempt: its outcome, how many spans the collector refused, and what went wrong."""
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
            connector=aiohttp.TCPConnector(ssl=self._settings.tls),
            trust_env=False,
            # A compressed answer is not asked for; unpacked it could be of any size.
            auto_decompress=False,
        )
        try:
            async with (
                session,
                session.post(self._url, data=body, headers=_HEADERS, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    outcome = Outcome.AGAIN if answer.status in _AGAIN else Outcome.FAILED
                    return outcome, 0, f"it answered {answer.status}"
                content = await _read_bounded(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a host of the endpoint that can't be one, as its name is looked up.
            return Outcome.AGAIN, 0, f"{type(error).__name__}: {error}"
        if content is None:
            return Outcome.FAILED, 0, f"its answer is longer than {ANSWER_BYTES_MAX} bytes"
        refused, why = otlp.read_refused(content)
        return Outcome.SENT, refused, f"it refused {refused} spans: {why}" if refused else ""

    def _log(self, trouble: str) -> None:
        """Logs where the collector's trouble begins, changes or ends, not each time."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            LOG.warning("spans could not be sent to %s: %.300s", self._url, trouble)
        else:
            LOG.info("spans are sent to %s again", self._url)


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes | None:
    """The answer's body; None where it is too long."""
    content = b""
    async for piece in answer.content.iter_chunked(ANSWER_BYTES_MAX):
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            return None
    return content
