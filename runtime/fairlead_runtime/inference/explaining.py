"""The queue of explanations and the one thread that computes them, apart from predictions.

An explanation takes as long as tens or hundreds of predictions. So there is one at a time, few wait, and all that one
needs, its body and its answer as well, is done on this thread: neither the server's loop nor a thread that calls the
model for predictions waits for it.

Sampled explanations (`inference/attribution_sampling.py`) are computed here as well, only while no request waits or
runs, and a request ends one that runs at its next call of the model.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.metrics import Explanations
from fairlead_runtime.model.explaining.work import AbandonedError

LOG = logging.getLogger(__name__)
QUEUED_MAX = 8

T = TypeVar("T")
Compute = Callable[[Callable[[], bool]], T]
"""Makes an answer, and stops by AbandonedError once its argument gives false; raises RequestError."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Job(Generic[T]):
    compute: Compute[T]
    future: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop


class ExplanationQueue:
    """Takes explanations on the server's loop and computes them on its own thread, in order."""

    def __init__(self, counted: Explanations, *, timeout_s: float, queued_max: int = QUEUED_MAX) -> None:
        self._counted = counted
        self._timeout_s = timeout_s
        self._queued_max = queued_max
        self._waiting: deque[_Job[Any]] = deque()
        self._changed = threading.Condition()
        self._running: _Job[Any] | None = None
        self._sampled: _Job[Any] | None = None
        """The one sampled explanation that waits or runs."""
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Number of explanations that wait for the thread."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether an explanation waits or runs."""
        return bool(self._waiting) or self._running is not None or self._sampled is not None

    def submit(self, compute: Compute[T]) -> asyncio.Future[T]:
        """A future of what `compute` makes; cancelling it ends the work at its next step.

        Raises:
            RequestError: `queued_max` explanations wait already (ExplanationsFull), the replica stops (Draining), or
                the thread can't be started (NotReady).
                The future raises what `compute` raises, Deadline after `timeout_s`, and Draining after `close`.
        """
        loop = asyncio.get_running_loop()
        job = _Job(compute=compute, future=loop.create_future(), loop=loop)
        with self._changed:
            if self._is_closed:
                raise RequestError(RequestReason.DRAINING, "the replica is stopping")
            awaited = [each for each in self._waiting if not each.future.done()]
            self._waiting.clear()
            self._waiting.extend(awaited)
            if len(self._waiting) >= self._queued_max:
                self._counted.add("full")
                text = f"{len(self._waiting)} explanations wait already; a replica computes one at a time"
                raise RequestError(RequestReason.EXPLANATIONS_FULL, text)
            try:
                self._start()
            except RequestError:
                self._counted.add("failed")
                raise
            if self._sampled is not None:
                self._sampled.future.cancel()
            self._waiting.append(job)
            self._changed.notify()
        self._watch(job)
        return job.future

    def offer(self, compute: Compute[T]) -> asyncio.Future[T] | None:
        """A future of what `compute` makes, or None where the thread has anything else to do.

        It is cancelled as soon as a request for an explanation comes, after the time that a request has, and by
        `close`; else it raises what `compute` raises. It is counted as no request.
        """
        loop = asyncio.get_running_loop()
        with self._changed:
            if self._is_closed or self.is_busy:
                return None
            try:
                self._start()
            except RequestError:
                return None
            self._sampled = job = _Job(compute=compute, future=loop.create_future(), loop=loop)
            self._changed.notify()
        timer = loop.call_later(self._timeout_s, job.future.cancel)
        job.future.add_done_callback(lambda _: timer.cancel())
        return job.future

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._work, name="fairlead-explanations", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            LOG.exception("the thread of the explanations can't be started; the next request tries again")
            text = "the replica can't start a thread for explanations now; its log has the cause"
            raise RequestError(RequestReason.NOT_READY, text) from error
        self._thread = thread

    def close(self) -> None:
        """Fail what waits and what runs, and end the thread at the next step of its explanation."""
        with self._changed:
            self._is_closed = True
            if self._sampled is not None:
                self._sampled.future.cancel()
            jobs = [*self._waiting, *([self._running] if self._running is not None else [])]
            self._waiting.clear()
            self._changed.notify()
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(RequestError(RequestReason.DRAINING, "the replica is stopping"))

    def _watch(self, job: _Job[Any]) -> None:
        """Bounds the time of a request, and counts how it ends. On the loop."""
        begun_s = time.perf_counter()
        timer = job.loop.call_later(self._timeout_s, self._expire, job)

        def settle(done: asyncio.Future[Any]) -> None:
            timer.cancel()
            self._counted.add(_outcome(done), time.perf_counter() - begun_s)

        job.future.add_done_callback(settle)

    def _expire(self, job: _Job[Any]) -> None:
        if not job.future.done():
            text = f"no explanation within {self._timeout_s:g} s; ask for fewer rows or steps"
            job.future.set_exception(RequestError(RequestReason.DEADLINE, text))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            result = _compute(job)
            try:
                if result is not None:
                    job.loop.call_soon_threadsafe(_deliver, job, result)
            except RuntimeError:
                # The loop is closed, so no request waits.
                return
            # The thread may wait for long, and a request and its answer are large.
            del job, result

    def _next(self) -> _Job[Any] | None:
        """Waits for the next explanation; None at the end."""
        with self._changed:
            if self._running is self._sampled:
                self._sampled = None
            self._running = None
            while not self._waiting and self._sampled is None and not self._is_closed:
                self._changed.wait()
            if self._waiting:
                self._running = self._waiting.popleft()
            elif not self._is_closed:
                self._running = self._sampled
            return self._running


@dataclass(frozen=True, slots=True)
class _Made(Generic[T]):
    value: T


def _compute(job: _Job[T]) -> _Made[T] | RequestError | None:
    """What the job gives; None where nobody waits for it."""

    def is_awaited() -> bool:
        return not job.future.done()

    if not is_awaited():
        return None
    try:
        return _Made(job.compute(is_awaited))
    except AbandonedError:
        return None
    except RequestError as error:
        return error
    except Exception:
        # The outermost place for one explanation: the thread and those that wait live on.
        LOG.exception("an explanation failed outside the model")
        return RequestError(RequestReason.INTERNAL, "the explanation failed; the replica's log has the cause")


def _deliver(job: _Job[T], result: _Made[T] | RequestError) -> None:
    if job.future.done():
        return
    if isinstance(result, RequestError):
        job.future.set_exception(result)
    else:
        job.future.set_result(result.value)


_OUTCOMES = {
    RequestReason.DEADLINE: "expired",
    RequestReason.MODEL_FAILED: "failed",
    RequestReason.INTERNAL: "failed",
    RequestReason.DRAINING: "failed",
}


def _outcome(done: asyncio.Future[Any]) -> str:
    if done.cancelled():
        return "abandoned"
    error = done.exception()
    if error is None:
        return "answered"
    return _OUTCOMES.get(error.reason, "refused") if isinstance(error, RequestError) else "failed"
