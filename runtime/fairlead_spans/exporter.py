"""Sends recorded requests to a collector by OTLP over HTTP, on a thread of its own, and counts what it can't send.

Neither a slow collector nor one that answers wrongly holds up a request: the queue is bounded, and what finds it full
is dropped. A redirect is not followed, and of an answer no more is read than an answer needs.
Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from fairlead_spans import lookup, otlp
from fairlead_spans.counters import SpanCounters
from fairlead_spans.span import AnsweredRequest, Value

LOG = logging.getLogger(__name__)
QUEUED_MAX = 2048
"""Requests that wait to be sent; each takes some two kibibytes."""

BATCH_MAX = 128
COLLECT_S = 2.0
"""How long a batch that is not full waits for more requests."""

TIMEOUT_S = 10.0
ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt, twice as long before the third, and before the batch that follows one that failed."""

RETRY_AFTER_S_MAX = 30.0
"""The longest pause that a collector can ask for."""

LOG_EVERY_S = 60.0
"""The log gets one line in this time at most."""

_TEXT_CHARS_MAX = 300

CLOSE_S = 2.0
ANSWER_BYTES_MAX = 64 * 1024
_PATH = "/v1/traces"
_HEADERS = {"content-type": "application/x-protobuf", "accept": "application/x-protobuf", "accept-encoding": "identity"}
_AGAIN = frozenset({429, 502, 503, 504})
_WAITS = frozenset({429, 503})


class Outcome(StrEnum):
    """What became of one attempt."""

    SENT = "sent"
    FAILED = "failed"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one attempt went. `trouble` is one of few kinds; `text` is of the collector, or of an error."""

    outcome: Outcome
    trouble: str = ""
    text: str = ""
    refused: int = 0
    wait_s: float = 0.0
    """The pause that the collector asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where spans go.

    `trust` is None for a collector without `https`. Else it reads whose certificates are trusted, and raises ValueError
    where it can't: at the start, and again after a certificate that was not trusted, as its authority may be a new one.
    """

    endpoint: str
    resource: Mapping[str, Value]
    """The program that sends them."""
    trust: Callable[[], ssl.SSLContext] | None
    timeout_s: float = TIMEOUT_S
    pause_s: float = PAUSE_S
    collect_s: float = COLLECT_S


class Exporter:
    """`offer` is called on one thread, such as that of a server's loop, `close` on any."""

    def __init__(self, settings: Settings, counted: SpanCounters) -> None:
        """Starts the thread; raises ValueError where `settings.trust` does."""
        self._settings = settings
        self._tls = None if settings.trust is None else settings.trust()
        self._counted = counted
        self._url = settings.endpoint.rstrip("/") + _PATH
        self._queue: deque[AnsweredRequest] = deque()
        self._some = threading.Event()
        self._full = threading.Event()
        self._closing = threading.Event()
        self._logged = ""
        self._quiet_until_s = 0.0
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
        spans = sum(request.spans for request in batch)
        try:
            attempt = self._try(batch)
        except Exception as error:
            # The outermost place of this thread: without memory or a free descriptor the next batch has its own chance.
            attempt = _failure(error, Outcome.FAILED)
            if self._is_news(attempt):
                LOG.exception("spans could not be sent to %s", self._url)
                self._note(attempt)
        if attempt.outcome is Outcome.SENT:
            self._counted.sent += spans - min(attempt.refused, spans)
            self._counted.refused += min(attempt.refused, spans)
        else:
            self._counted.failed += spans
        self._log(attempt)
        if attempt.outcome is not Outcome.SENT:
            self._closing.wait(max(attempt.wait_s, self._settings.pause_s))

    def _try(self, batch: Sequence[AnsweredRequest]) -> Attempt:
        """The last attempt of those that were needed."""
        body = otlp.write(self._settings.resource, batch)
        attempt = asyncio.run(self._post(body))
        for count in range(ATTEMPTS - 1):
            if attempt.outcome is not Outcome.AGAIN:
                break
            if self._closing.wait(max(attempt.wait_s, self._settings.pause_s * 2**count)):
                break
            attempt = asyncio.run(self._post(body))
        return attempt

    async def _post(self, body: bytes) -> Attempt:
        try:
            session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                connector=aiohttp.TCPConnector(ssl=self._tls or True, resolver=_Resolver(self._settings.timeout_s)),
                trust_env=False,
                # A compressed answer is not asked for; unpacked it could be of any size.
                auto_decompress=False,
            )
            async with (
                session,
                session.post(self._url, data=body, headers=_HEADERS, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return _refusal(answer)
                content = await _read_bounded(answer)
        except aiohttp.ClientConnectorCertificateError as error:
            return self._distrust(error.certificate_error)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a host of the endpoint that can't be one, as its name is looked up.
            return _failure(error, Outcome.AGAIN)
        if content is None:
            return Attempt(outcome=Outcome.FAILED, trouble=f"its answer is longer than {ANSWER_BYTES_MAX} bytes")
        refused, why = otlp.read_refused(content)
        return Attempt(
            outcome=Outcome.SENT, trouble="it refused some of them" if refused else "", text=why, refused=refused
        )

    def _distrust(self, error: Exception) -> Attempt:
        """The next batch has another chance: the files with the authorities may have changed since they were read."""
        if self._settings.trust is not None:
            # Files that can't be read now leave what was read before.
            with contextlib.suppress(ValueError):
                self._tls = self._settings.trust()
        text = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        return Attempt(outcome=Outcome.FAILED, trouble="its certificate is not trusted", text=text)

    def _log(self, attempt: Attempt) -> None:
        if not self._is_news(attempt):
            return
        self._note(attempt)
        if attempt.trouble:
            text = attempt.text[:_TEXT_CHARS_MAX]
            LOG.warning("spans could not be sent to %s: %s (%r)", self._url, attempt.trouble, text)
        else:
            LOG.info("spans are sent to %s again", self._url)

    def _is_news(self, attempt: Attempt) -> bool:
        """Whether trouble of a kind begins or ends with it, and the last line of the log is long enough ago."""
        return attempt.trouble != self._logged and time.monotonic() >= self._quiet_until_s

    def _note(self, attempt: Attempt) -> None:
        """It has a line in the log."""
        self._logged = attempt.trouble
        self._quiet_until_s = time.monotonic() + LOG_EVERY_S


class _Resolver(AbstractResolver):
    """Looks names up with a bound: the loop's own way ends no sooner than the system's resolver.

    It holds up the loop meanwhile, which has nothing else to do.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=found, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for found, _, protocol, _, address in lookup.look_up(host, port, self._timeout_s)
            if family in (socket.AF_UNSPEC, found)
        ]

    @override
    async def close(self) -> None:
        return


def _failure(error: Exception, outcome: Outcome) -> Attempt:
    return Attempt(outcome=outcome, trouble=type(error).__name__, text=str(error))


def _refusal(answer: aiohttp.ClientResponse) -> Attempt:
    asked = answer.headers.get("retry-after", "")
    # A date, the other form, is as good as none: clocks differ.
    is_number = asked.isascii() and asked.isdigit() and len(asked) < 10
    return Attempt(
        outcome=Outcome.AGAIN if answer.status in _AGAIN else Outcome.FAILED,
        trouble=f"it answered {answer.status}",
        wait_s=min(float(asked), RETRY_AFTER_S_MAX) if is_number and answer.status in _WAITS else 0.0,
    )


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes | None:
    """The answer's body; None where it is too long."""
    content = b""
    async for piece in answer.content.iter_chunked(ANSWER_BYTES_MAX):
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            return None
    return content
