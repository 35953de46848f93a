"""Where a call runs: at once, once per turn of the event loop, or on a thread that takes what has queued.

Which one is a question of how long the call takes, decided for each: handing over to a thread costs more than a short
call gains, a call of a millisecond would let health checks wait, and in between one call for all requests of a turn is
cheaper than many. A call of unknown duration runs on the thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference.batching import Job, Runner, count_rows, deliver, is_finite, take
from fairlead_runtime.inference.costs import size_of
from fairlead_runtime.inference.timing import Timing
from fairlead_runtime.model.predictor import Tensors

INLINE_CALL_S_MAX = 60e-6
TURN_CALL_S_MAX = 1e-3

LOG = logging.getLogger(__name__)


class Executor:
    """Takes a model's calls to where they run. Its methods are called on the server's loop, but for `trouble`."""

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop, *, at_once: int | None = None) -> None:
        """`at_once`: calls wait for other processes, so so many run at a time, and none on the loop."""
        self._runner = runner
        self._loop = loop
        self._turn: deque[Job] = deque()
        self._waits = at_once is not None
        self._worker = Worker(runner, loop, threads=at_once or 1)

    def submit(self, inputs: Tensors, timing: Timing | None = None) -> Tensors | asyncio.Future[Tensors]:
        """The outputs, now or later; raises RequestError. A cancelled future's work is dropped if it hasn't begun."""
        size = size_of([inputs])
        expected_s = self._runner.predict_s(size)
        # Who wants requests to wait for each other wants it of quick calls too.
        if expected_s is None or self._runner.delay_s or self._waits:
            expected_s = math.inf
        if expected_s <= INLINE_CALL_S_MAX:
            return self._runner.run_one(inputs, size=size, timing=timing)
        may_share = self._runner.is_sharing and is_finite(inputs)
        job = Job(inputs=inputs, future=self._loop.create_future(), is_finite=may_share, timing=timing or Timing())
        if expected_s <= TURN_CALL_S_MAX:
            if not self._turn:
                self._loop.call_soon(self._flush)
            self._turn.append(job)
        else:
            self._worker.put([job])
        return job.future

    @property
    def is_sharing(self) -> bool:
        """Whether several requests may share a call."""
        return self._runner.is_sharing

    def queued(self) -> int:
        """Number of requests that wait for a call."""
        return len(self._turn) + self._worker.queued()

    def trouble(self, call_s_max: float) -> str | None:
        """What keeps calls from ever being answered; None where nothing does. From any thread."""
        return self._worker.trouble(call_s_max)

    def close(self) -> None:
        """Fails what has queued and stops."""
        self._worker.close()
        _fail_all(self._turn)

    def _flush(self) -> None:
        jobs = take(self._turn, self._runner.rows_max)
        if self._turn:
            # The rest comes in the next turn, so that sockets and health checks get theirs in between.
            self._loop.call_soon(self._flush)
        if not jobs:
            return
        expected_s = self._runner.predict_s(size_of([job.inputs for job in jobs]))
        if expected_s is None or expected_s > TURN_CALL_S_MAX:
            self._worker.put(jobs)
        else:
            deliver(jobs, self._runner.run(jobs))


class Worker:
    """Calls the model on one thread, or on a few that wait for other processes.

    While they call, requests queue, and the next call may take some together.
    """

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop, *, threads: int = 1) -> None:
        self._runner = runner
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._begun_s: list[float | None] = [None] * threads
        self._threads: list[threading.Thread] = []

    def put(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            self._waiting.extend(jobs)
            self._changed.notify_all()
        if not self._threads:
            for number in range(len(self._begun_s)):
                thread = threading.Thread(target=self._work, args=(number,), name="fairlead-inference", daemon=True)
                self._threads.append(thread)
                thread.start()

    def queued(self) -> int:
        return len(self._waiting)

    def trouble(self, call_s_max: float) -> str | None:
        """What keeps calls from being answered: the thread has ended, or its call doesn't return."""
        if self._closing:
            return None
        if not all(thread.is_alive() for thread in self._threads):
            return "the thread that calls the model has ended"
        now_s = time.monotonic()
        age_s = max(0.0 if begun_s is None else now_s - begun_s for begun_s in self._begun_s)
        return f"a call of the model has not returned for {age_s:.0f} s" if age_s > call_s_max else None

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        _fail_all(self._waiting)

    def _work(self, number: int) -> None:
        while (jobs := self._next()) is not None:
            if not jobs:
                continue
            self._begun_s[number] = time.monotonic()
            results = self._runner.run(jobs)
            self._begun_s[number] = None
            try:
                self._loop.call_soon_threadsafe(deliver, jobs, results)
            except RuntimeError:
                # The loop is closed, so no request waits.
                return

    def _next(self) -> list[Job] | None:
        """Waits for the jobs of the next call; None at the end."""
        with self._changed:
            while not self._closing:
                left_s = self._left_s()
                if left_s is not None and left_s <= 0:
                    return take(self._waiting, self._runner.rows_max)
                self._changed.wait(left_s)
        return None

    def _left_s(self) -> float | None:
        """How long the next call may still wait for more rows; None where no request waits."""
        rows_max = self._runner.rows_max
        rows = count_rows(self._waiting, rows_max)
        if not rows:
            return None
        delay_s = self._runner.delay_s
        if not delay_s or rows >= rows_max:
            return 0.0
        return self._waiting[0].arrived_s + delay_s - time.monotonic()


def _fail_all(waiting: deque[Job]) -> None:
    while waiting:
        job = waiting.popleft()
        if not job.future.done():
            job.future.set_exception(RequestError(RequestReason.DRAINING, "the replica is stopping"))
