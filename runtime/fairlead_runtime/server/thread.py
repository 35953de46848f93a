"""The server's own thread and event loop, apart from Ray's: neither can starve the other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent import futures
from concurrent.futures import Future

import uvloop

from fairlead_runtime.server.connection import Connection, Shared
from fairlead_runtime.server.listener import BACKLOG

SWEEP_S = 0.25
POLL_S = 0.02
DRAIN_QUIET_S = 1.0
"""A draining replica listens until no prediction was answered for so long: then every gateway has seen the drain."""
DRAIN_LISTENS_S = 5.0
"""It listens no longer than this while predictions still come: the slowest health check has been answered by then."""
GOING_S = 1.0
CLOSING_S = 4.0
"""For what is still sent after the last answer, to a sink and a collector, and for the end of the thread."""


class ThreadEndedError(RuntimeError):
    """The server's thread ended before it did what was asked of it; the cause is what ended it."""


class ServerThread:
    """Serves one listening socket until it is drained. Its methods may be called from any thread."""

    def __init__(self, listener: socket.socket, build: Callable[[asyncio.AbstractEventLoop], Shared]) -> None:
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self._build = build
        self._loop = uvloop.new_event_loop()
        self._started: Future[Shared] = Future()
        self._ended: Future[None] = Future()
        self._last_beat_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="fairlead-server", daemon=True)

    def start(self) -> Shared:
        """Returns once connections are accepted; raises what went wrong."""
        self._thread.start()
        return self._started.result()

    def silent_s(self) -> float:
        """How long the loop hasn't turned; grows without end once the thread is dead."""
        return time.monotonic() - self._last_beat_s

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def call_later(self, function: Callable[[], None], delay_s: float) -> None:
        """Runs `function` in the server's loop after the delay, if that still turns then."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, function)

    def run(self, function: Callable[[], None]) -> None:
        """Runs `function` in the server's loop. Blocks until it has run: every later request comes after it.

        Raises ThreadEndedError where the thread has ended.
        """

        async def run_once() -> None:
            function()

        self._call(run_once())

    def drain(self, *, timeout_s: float) -> None:
        """Answers what comes until the gateways send nothing more and nothing is in flight; then closes. Blocks.

        `timeout_s` is for all of it; what is in flight then is cut. Source: docs/contracts.md, Draining.
        Raises ThreadEndedError where a fault ends the thread meanwhile.
        """
        if not self._thread.is_alive():
            return
        try:
            self._call(self._drain(timeout_s))
        except ThreadEndedError as error:
            if error.__cause__ is not None:
                raise
            # It was drained by another call.
        self._thread.join(timeout=CLOSING_S)

    def _call(self, coroutine: Coroutine[object, object, None]) -> None:
        """Runs a coroutine in the server's loop and waits for its end, or for that of the thread."""
        try:
            called = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            # The loop is closed.
            coroutine.close()
            raise ThreadEndedError("the server's thread has ended") from self._ended.exception()
        futures.wait((called, self._ended), return_when=futures.FIRST_COMPLETED)
        if called.done() and not called.cancelled():
            called.result()
            return
        cause = self._ended.exception()
        self._thread.join(timeout=5)
        coroutine.close()
        raise ThreadEndedError("the server's thread has ended") from cause

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
            self._ended.set_result(None)
        except BaseException as error:
            self._ended.set_exception(error)
            if not self._started.done():
                self._started.set_exception(error)
            else:
                raise
        finally:
            self._cancel_tasks()
            self._loop.close()

    def _cancel_tasks(self) -> None:
        """Those that others wait for, such as a drain."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._shared = self._build(self._loop)
        self._server = await self._loop.create_server(
            lambda: Connection(self._shared), sock=self._listener, backlog=BACKLOG
        )
        self._started.set_result(self._shared)
        try:
            await self._sweep()
        finally:
            # Also after a fault: a client that waits is better off with a reset, which gateways repeat elsewhere.
            self._server.close()
            self._shared.close()
            for connection in tuple(self._shared.connections):
                connection.abort()
            # One turn more, so that the connections hear of their end.
            await asyncio.sleep(0)
            # Side by side, so that those that hang take the time of one.
            await asyncio.gather(*(finish() for finish in self._shared.finish))

    async def _sweep(self) -> None:
        """Ends connections that have waited too long, until the server stops."""
        while not self._stop.is_set():
            now_s = time.monotonic()
            self._last_beat_s = now_s
            for connection in tuple(self._shared.connections):
                connection.check_time(now_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._stop.wait()

    async def _drain(self, timeout_s: float) -> None:
        self._shared.is_draining = True
        deadline_s = time.monotonic() + timeout_s
        await self._wait_until_quiet(min(deadline_s, time.monotonic() + DRAIN_LISTENS_S))
        self._server.close()
        for connection in tuple(self._shared.connections):
            connection.close_if_idle()
        while self._shared.in_flight and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)
        await self._wait_for_connections(deadline_s)
        self._stop.set()

    async def _wait_until_quiet(self, deadline_s: float) -> None:
        """Until no prediction came for a while and none is in flight, or until the deadline."""
        metrics = self._shared.metrics
        seen, quiet_since_s = metrics.count_predictions(), time.monotonic()
        while (now_s := time.monotonic()) < deadline_s:
            answered = metrics.count_predictions()
            if answered != seen or self._shared.in_flight:
                seen, quiet_since_s = answered, now_s
            elif now_s - quiet_since_s >= DRAIN_QUIET_S:
                return
            await asyncio.sleep(POLL_S)

    async def _wait_for_connections(self, until_s: float) -> None:
        """Gives connections a moment to end by themselves, and those that still read their last answer all the time."""
        moment_s = time.monotonic() + GOING_S
        while self._shared.connections and (now_s := time.monotonic()) < until_s:
            if now_s > moment_s and not any(each.is_finishing() for each in self._shared.connections):
                return
            await asyncio.sleep(POLL_S)
