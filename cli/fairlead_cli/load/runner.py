"""The closed loop: one worker a connection, each sends its next request when the answer to the last one is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead_cli import gateway_access
from fairlead_cli.load import answers, connection, report, settings

# A worker whose request failed waits this long: a dead server must not turn the loop into a busy one.
PAUSE_AFTER_FAILURE_S = 0.02


async def run(
    asked: settings.Settings,
    *,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[report.Progress], None] | None = None,
    progress_every_s: float = 0.25,
) -> report.Report:
    """Runs to the end that ``asked`` sets, or until ``stop`` is set and the requests under way are answered.

    Raises:
        gateway_access.AccessError: the file of certificates can't be used.
    """
    loop = _Loop(asked, stop or asyncio.Event())
    async with asyncio.TaskGroup() as group:
        reporter = group.create_task(_report(loop, on_progress, progress_every_s)) if on_progress else None
        workers = [group.create_task(loop.work()) for _ in range(asked.connections)]
        await asyncio.wait(workers)
        if reporter is not None:
            reporter.cancel()
    finished = loop.recorder.report(loop.elapsed_s())
    if on_progress:
        on_progress(loop.recorder.progress(finished.elapsed_s))
    return finished


async def _report(loop: _Loop, on_progress: Callable[[report.Progress], None], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        on_progress(loop.recorder.progress(loop.elapsed_s()))


class _Loop:
    """The state that the workers share."""

    def __init__(self, asked: settings.Settings, stop: asyncio.Event) -> None:
        self.recorder = report.Recorder()
        self._asked = asked
        self._stop = stop
        self._trust = gateway_access.build_trust(asked.url, asked.ca_file)
        self._next = 0
        self._now = asyncio.get_running_loop().time
        self._started = self._now()

    def elapsed_s(self) -> float:
        return self._now() - self._started

    async def work(self) -> None:
        link: connection.Connection | None = None
        served = 0
        while (taken := await self._take()) is not None:
            number, begun = taken
            if link is not None and not link.is_usable:
                self.recorder.reconnects["closed_by_answer" if link.closed_by_answer else "idle_closed"] += 1
                link.abort()
                link = None
            request_id, request = self._asked.request(number)
            if link is None:
                served = 0
                link = await self._connect(request_id, begun)
            succeeded = link is not None and await self._exchange(
                link, request_id, request=request, begun=begun, reused=served > 0
            )
            served += 1
            if not succeeded:
                link = await self._after_failure(link)
        if link is not None:
            link.abort()

    async def _take(self) -> tuple[int, float] | None:
        """The next request's number, and when its time begins; None when the run is over."""
        asked = self._asked
        if self._is_over() or (asked.requests is not None and self._next >= asked.requests):
            return None
        number = self._next
        self._next += 1
        if asked.rate_limit is not None:
            due_s = number / asked.rate_limit
            if asked.duration_s is not None and due_s >= asked.duration_s:
                return None  # nor is any later one: the run must not wait for when it would have been due
            delay_s = due_s - self.elapsed_s()
            if delay_s > 0:
                await _sleep_unless(self._stop, delay_s)
                if self._is_over():
                    return None
            if asked.open_loop:
                return number, self._started + number / asked.rate_limit
        return number, self._now()

    def _is_over(self) -> bool:
        limit_s = self._asked.duration_s
        return self._stop.is_set() or (limit_s is not None and self.elapsed_s() >= limit_s)

    async def _after_failure(self, link: connection.Connection | None) -> connection.Connection | None:
        await _sleep_unless(self._stop, PAUSE_AFTER_FAILURE_S)
        if link is None or link.is_usable:
            return link
        self.recorder.reconnects["after_failure"] += 1
        link.abort()
        return None

    async def _connect(self, request_id: str, begun: float) -> connection.Connection | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._asked.timeout_s):
                _, link = await loop.create_connection(
                    connection.Connection, self._asked.host, self._asked.port, ssl=self._trust
                )
        except TimeoutError:
            self._fail(request_id, begun, kind=report.Kind.CONNECT, detail="no connection within the time limit")
            return None
        except OSError as error:
            self._fail(request_id, begun, kind=report.Kind.CONNECT, detail=f"{type(error).__name__}: {error}")
            return None
        return link

    async def _exchange(
        self, link: connection.Connection, request_id: str, *, request: bytes, begun: float, reused: bool
    ) -> bool:
        """Sends one request and records the result; true only for the expected answer."""
        try:
            async with asyncio.timeout_at(begun + self._asked.timeout_s):
                answer = await link.exchange(request)
        except TimeoutError:
            link.abort()
            self._fail(request_id, begun, kind=report.Kind.TIMEOUT, detail="no complete answer in time", reused=reused)
        except connection.ConnectionEnded as error:
            kind = report.Kind.CUT if error.answer_begun else report.Kind.RESET
            self._fail(request_id, begun, kind=kind, detail=str(error), reused=reused)
        except connection.MalformedAnswer as error:
            self._fail(request_id, begun, kind=report.Kind.BAD_ANSWER, detail=str(error), reused=reused)
        else:
            return self._judge(answer, request_id, begun=begun, reused=reused)
        return False

    def _judge(self, answer: connection.Answer, request_id: str, *, begun: float, reused: bool) -> bool:
        found = self._find_fault(answer, request_id)
        if found is None:
            now = self._now()
            self.recorder.succeeded(
                revision=answer.headers.get("x-fairlead-revision"),
                status=answer.status,
                at_s=now - self._started,
                took_s=now - begun,
            )
            return True
        kind, detail = found
        self._fail(request_id, begun, kind=kind, detail=detail, answer=answer, reused=reused)
        return False

    def _find_fault(self, answer: connection.Answer, request_id: str) -> tuple[report.Kind, str] | None:
        echoed = answer.headers.get("x-request-id")
        if echoed is not None and echoed != request_id:
            return report.Kind.WRONG_ID, f"the answer carries the id {echoed}"
        if not 200 <= answer.status < 300:
            return report.Kind.STATUS, f"status {answer.status}"
        expected = self._asked.expected_answer(request_id)
        if expected is not None and answer.body != expected:
            return report.Kind.BAD_ANSWER, "not the answer that was expected, byte for byte"
        detail = answers.fault(self._asked, answer.body, answer.headers.get(answers.HEADER_LENGTH))
        return None if detail is None else (report.Kind.BAD_ANSWER, detail)

    def _fail(
        self,
        request_id: str,
        begun: float,
        *,
        kind: report.Kind,
        detail: str,
        answer: connection.Answer | None = None,
        reused: bool = False,
    ) -> None:
        now = self._now()
        self.recorder.failed(
            report.Failure(
                id=request_id,
                kind=kind,
                at_s=now - self._started,
                took_s=now - begun,
                detail=detail,
                status=None if answer is None else answer.status,
                body="" if answer is None else report.excerpt(answer.body),
                revision=None if answer is None else answer.headers.get("x-fairlead-revision"),
                reused=reused,
            )
        )


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
