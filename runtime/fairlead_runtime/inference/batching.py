"""How a call gets to the model: at once, once per turn of the event loop, or on a thread that takes what has queued.

Which one is a question of how long a call takes: handing over to a thread costs more than a short call gains, a call of
a millisecond would let health checks wait, and in between one call for all requests of a turn is cheaper than many.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.predictor import InputRefusedError, Predictor, Tensors

INLINE_CALL_S_MAX = 60e-6
TURN_CALL_S_MAX = 1e-3
ROWS_MAX = 64

LOG = logging.getLogger(__name__)

Result = Tensors | Exception
Failure = Callable[[Exception], None]


class Executor(Protocol):
    """Where calls run. All methods are called on the server's loop."""

    def submit(self, inputs: Tensors) -> Tensors | asyncio.Future[Tensors]:
        """The outputs, now or later; a cancelled future's work is dropped if it hasn't begun."""
        ...

    def queued(self) -> int:
        """Requests whose call has not begun."""
        ...

    def close(self) -> None:
        """Fails what has queued and stops."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request's tensors and where its answer goes."""

    inputs: Tensors
    future: asyncio.Future[Tensors]

    @property
    def rows(self) -> int:
        return int(self.inputs[0].shape[0]) if self.inputs[0].ndim else 1

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape[1:] for array in self.inputs)


class Runner:
    """Runs jobs as few calls as their shapes allow; one bad job never fails its neighbours."""

    def __init__(self, predictor: Predictor, *, is_batched: bool, observe_rows: Callable[[int], None]) -> None:
        self._predictor = predictor
        self._is_batched = is_batched
        self._observe_rows = observe_rows

    def one(self, inputs: Tensors) -> Tensors:
        """Raises RequestError."""
        try:
            outputs = self._predictor(inputs)
        except InputRefusedError as error:
            raise RequestError(RequestReason.INVALID_INPUT, f"the model refuses the input: {error}") from None
        except Exception as error:
            # The caller is told the kind alone; the cause is for whoever reads the replica's log.
            LOG.exception("the model failed")
            raise RequestError(RequestReason.MODEL_FAILED, f"the model failed ({type(error).__name__})") from error
        self._observe_rows(int(inputs[0].shape[0]) if inputs[0].ndim else 1)
        return outputs

    def many(self, jobs: Sequence[Job]) -> list[Result]:
        """A result for each job, in order."""
        if len(jobs) > 1 and self._is_batched and len({job.row_shapes for job in jobs}) == 1:
            joined = self._joined(jobs)
            if joined is not None:
                return joined
        return [self._alone(job) for job in jobs]

    def _joined(self, jobs: Sequence[Job]) -> list[Result] | None:
        columns = zip(*(job.inputs for job in jobs), strict=True)
        try:
            outputs = self.one(tuple(np.concatenate(column) for column in columns))
        except RequestError:
            return None
        total = sum(job.rows for job in jobs)
        if any(output.shape[0] != total for output in outputs):
            return None
        results: list[Result] = []
        start = 0
        for job in jobs:
            results.append(tuple(output[start : start + job.rows] for output in outputs))
            start += job.rows
        return results

    def _alone(self, job: Job) -> Result:
        try:
            return self.one(job.inputs)
        except RequestError as error:
            return error


def take(waiting: deque[Job]) -> list[Job]:
    """The next jobs for one call: the first, and those behind it of the same shape while the rows fit."""
    jobs: list[Job] = []
    rows = 0
    while waiting:
        job = waiting[0]
        if job.future.done():
            waiting.popleft()
            continue
        if jobs and (rows + job.rows > ROWS_MAX or job.row_shapes != jobs[0].row_shapes):
            break
        waiting.popleft()
        jobs.append(job)
        rows += job.rows
    return jobs


def deliver(jobs: Sequence[Job], results: Sequence[Result]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


class InlineExecutor:
    """Calls the model in the event loop, at once."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def submit(self, inputs: Tensors) -> Tensors:
        return self._runner.one(inputs)

    def queued(self) -> int:
        return 0

    def close(self) -> None:
        return


class TurnExecutor:
    """Calls the model in the event loop, once for all requests that one turn of the loop read."""

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        self._runner = runner
        self._loop = loop
        self._waiting: deque[Job] = deque()

    def submit(self, inputs: Tensors) -> asyncio.Future[Tensors]:
        job = Job(inputs=inputs, future=self._loop.create_future())
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(job)
        return job.future

    def queued(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        _fail_all(self._waiting)

    def _flush(self) -> None:
        jobs = take(self._waiting)
        if jobs:
            deliver(jobs, self._runner.many(jobs))
        if self._waiting:
            # The rest comes in the next turn, so that sockets and health checks get theirs in between.
            self._loop.call_soon(self._flush)


class WorkerExecutor:
    """Calls the model on one thread; while a call runs, requests queue, and the next call takes them together."""

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        self._runner = runner
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="fairlead-inference", daemon=True)
        self._thread.start()

    def submit(self, inputs: Tensors) -> asyncio.Future[Tensors]:
        job = Job(inputs=inputs, future=self._loop.create_future())
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def queued(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        _fail_all(self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                jobs = take(self._waiting)
            if jobs:
                results = self._runner.many(jobs)
                try:
                    self._loop.call_soon_threadsafe(deliver, jobs, results)
                except RuntimeError:
                    # The loop is closed: nobody waits any more.
                    return


def choose(runner: Runner, loop: asyncio.AbstractEventLoop, *, call_s: float) -> Executor:
    """The executor for a model whose call of one row takes `call_s` seconds."""
    if call_s <= INLINE_CALL_S_MAX:
        return InlineExecutor(runner)
    if call_s <= TURN_CALL_S_MAX:
        return TurnExecutor(runner, loop)
    return WorkerExecutor(runner, loop)


def _fail_all(waiting: deque[Job]) -> None:
    while waiting:
        job = waiting.popleft()
        if not job.future.done():
            job.future.set_exception(RequestError(RequestReason.DRAINING, "the replica is stopping"))
