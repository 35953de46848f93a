"""Calls of the model for one request or for several: rows share a call only where the model was proved to allow it."""

from __future__ import annotations

import logging
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference.costs import Costs, Size, size_of
from fairlead_runtime.model.predictor import InputRefusedError, Predictor, Tensors

SCAN_MAX = 64
"""How far behind the first request one is looked for that may share its call."""

LOG = logging.getLogger(__name__)

Result = Tensors | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How requests may share a call. `is_proved`: f(a‖b) = f(a)‖f(b) was seen to hold (`model/merging.py`)."""

    is_proved: bool
    rows_max: int = 64
    delay_s: float = 0.0
    """How long the first request of a call waits at most for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request's tensors and where its answer goes."""

    inputs: Tensors
    future: Future[Tensors]
    arrived_s: float = field(default_factory=time.monotonic)

    @property
    def rows(self) -> int:
        return rows_of(self.inputs)

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape[1:] for array in self.inputs)


def rows_of(inputs: Tensors) -> int:
    return int(inputs[0].shape[0]) if inputs[0].ndim else 1


class Runner:
    """Runs jobs as few calls as the proof allows; one bad job never fails its neighbours. Used from several threads."""

    def __init__(
        self, predictor: Predictor, *, sharing: Sharing, costs: Costs, observe_rows: Callable[[int], None]
    ) -> None:
        self._predictor = predictor
        self._sharing = sharing
        self._costs = costs
        self._observe_rows = observe_rows
        self._is_disproved = False

    @property
    def is_sharing(self) -> bool:
        """Whether several requests may share a call."""
        return self._sharing.is_proved and self._sharing.rows_max > 1 and not self._is_disproved

    @property
    def rows_max(self) -> int:
        """Rows of a call that several requests share; a single request may have more."""
        return self._sharing.rows_max if self.is_sharing else 1

    @property
    def delay_s(self) -> float:
        return self._sharing.delay_s if self.is_sharing else 0.0

    def predict_s(self, size: Size) -> float | None:
        """How long a call of this size will take; None where nothing is known."""
        return self._costs.predict_s(size)

    def run_one(self, inputs: Tensors, size: Size | None = None) -> Tensors:
        """Raises RequestError. The size is that of the inputs, where it is known already."""
        started_s = time.perf_counter()
        try:
            outputs = self._predictor(inputs)
        except InputRefusedError as error:
            raise RequestError(RequestReason.INVALID_INPUT, f"the model does not accept the input: {error}") from None
        except Exception as error:
            # The caller is told the kind alone; the cause is for whoever reads the replica's log.
            LOG.exception("the model failed")
            raise _to_request_error(error) from error
        finally:
            # A call that failed has taken its time as well.
            self._costs.observe(size or size_of([inputs]), time.perf_counter() - started_s)
        self._observe_rows(rows_of(inputs))
        return outputs

    def run(self, jobs: Sequence[Job]) -> list[Result]:
        """A result for each job, in order; whatever goes wrong stays with these jobs."""
        try:
            joined = self._run_joined(jobs) if len(jobs) > 1 else None
            return joined if joined is not None else [self._run_alone(job) for job in jobs]
        except BaseException as error:
            # The outermost place for one call: the thread and its other requests live on.
            LOG.exception("a call for %d requests failed outside the model", len(jobs))
            return [_to_request_error(error) for _ in jobs]

    def _run_joined(self, jobs: Sequence[Job]) -> list[Result] | None:
        """The results of one call for all; None where each is to be run by itself."""
        if not self.is_sharing or len({job.row_shapes for job in jobs}) != 1:
            return None
        columns = zip(*(job.inputs for job in jobs), strict=True)
        try:
            outputs = self.run_one(tuple(np.concatenate(column) for column in columns))
        except (RequestError, MemoryError):
            return None
        total = sum(job.rows for job in jobs)
        if any(output.ndim == 0 or output.shape[0] != total for output in outputs):
            # What the proof said of every input does not hold of these: it holds no more.
            self._is_disproved = True
            LOG.error("batching is switched off: %d rows of input gave a different number of output rows", total)
            return None
        return _split(outputs, [job.rows for job in jobs])

    def _run_alone(self, job: Job) -> Result:
        if job.future.done():
            # Its client went away while the jobs before it ran.
            return ()
        try:
            return self.run_one(job.inputs)
        except RequestError as error:
            return error


def _split(outputs: Tensors, rows: Sequence[int]) -> list[Result]:
    results: list[Result] = []
    start = 0
    for count in rows:
        results.append(tuple(output[start : start + count] for output in outputs))
        start += count
    return results


def _to_request_error(error: BaseException) -> RequestError:
    return RequestError(RequestReason.MODEL_FAILED, f"the model failed ({type(error).__name__})")


def take(waiting: deque[Job], rows_max: int) -> list[Job]:
    """The next jobs for one call: the first, and others of its shape while the rows fit. The rest keeps its order."""
    _drop_done(waiting)
    if not waiting:
        return []
    jobs = [waiting.popleft()]
    rows, passed = jobs[0].rows, list[Job]()
    while waiting and rows < rows_max and len(passed) < SCAN_MAX:
        job = waiting.popleft()
        if job.future.done():
            continue
        if _fits(job, jobs[0], rows, rows_max):
            jobs.append(job)
            rows += job.rows
        else:
            passed.append(job)
    waiting.extendleft(reversed(passed))
    return jobs


def count_rows(waiting: deque[Job], rows_max: int) -> int:
    """Rows that the next call would have."""
    _drop_done(waiting)
    rows, passed = 0, 0
    for job in waiting:
        if job.future.done():
            continue
        if not rows or _fits(job, waiting[0], rows, rows_max):
            rows += job.rows
        else:
            passed += 1
        if rows >= rows_max or passed >= SCAN_MAX:
            break
    return rows


def _drop_done(waiting: deque[Job]) -> None:
    while waiting and waiting[0].future.done():
        waiting.popleft()


def _fits(job: Job, first: Job, rows: int, rows_max: int) -> bool:
    return rows + job.rows <= rows_max and job.row_shapes == first.row_shapes


def deliver(jobs: Sequence[Job], results: Sequence[Result]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
