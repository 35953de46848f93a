"""Calls the model for one or several requests. Requests share a call only after the proof in `model/merging.py`."""

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
from fairlead_runtime.inference.timing import Timing
from fairlead_runtime.model.predictor import InputRefusedError, Predictor, Tensors

SCAN_MAX = 64
"""How many waiting requests are examined for the next call."""

LOG = logging.getLogger(__name__)

Result = Tensors | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How requests may share a call. `is_proved`: the warm-up showed f(a‖b) = f(a)‖f(b) (`model/merging.py`)."""

    is_proved: bool
    rows_max: int = 64
    delay_s: float = 0.0
    """Longest time in seconds that the first request of a call waits for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request's tensors and where its answer goes. Nothing was proved of calls with NaN or infinities in them."""

    inputs: Tensors
    future: Future[Tensors]
    arrived_s: float = field(default_factory=time.monotonic)
    is_finite: bool = True
    timing: Timing = field(default_factory=Timing)

    @property
    def rows(self) -> int:
        """The size of the first dimension; 1 for a scalar."""
        return rows_of(self.inputs)

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of one row of each input. Only jobs with equal row shapes can share a call."""
        return tuple(array.shape[1:] for array in self.inputs)


def is_finite(inputs: Tensors) -> bool:
    """Whether no number of the inputs is NaN or an infinity."""
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in inputs)


def rows_of(inputs: Tensors) -> int:
    """The size of the first dimension of the first input; 1 for a scalar."""
    return int(inputs[0].shape[0]) if inputs[0].ndim else 1


class Runner:
    """Runs jobs in as few calls as the proof allows. A failing job fails no other. Safe to use from several threads."""

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
        """Seconds that a call waits for more requests; 0 while no call is shared."""
        return self._sharing.delay_s if self.is_sharing else 0.0

    def predict_s(self, size: Size) -> float | None:
        """Expected seconds of a call of this size; None when no such call was measured."""
        return self._costs.predict_s(size)

    def run_one(self, inputs: Tensors, *, size: Size | None = None, timing: Timing | None = None) -> Tensors:
        """The outputs for these inputs, in the signature's order; `timing` gets how long the call took.

        Raises:
            RequestError: the model refuses the inputs (InvalidInput), fails (ModelFailed), or is not whole (StageGone).
        """
        started_s = time.perf_counter()
        if timing is not None:
            timing.called_s = started_s
        try:
            outputs = self._predictor(inputs)
        except RequestError:
            raise
        except InputRefusedError as error:
            raise RequestError(RequestReason.INVALID_INPUT, f"the model does not accept the input: {error}") from None
        except Exception as error:
            # The caller is told the kind alone; the cause is for whoever reads the replica's log.
            LOG.exception("the model failed")
            raise _to_request_error(error) from error
        finally:
            # A call that failed has taken its time as well.
            spent_s = time.perf_counter() - started_s
            self._costs.observe(size or size_of([inputs]), spent_s)
            if timing is not None:
                timing.call_s = spent_s
        self._observe_rows(rows_of(inputs))
        return outputs

    def run(self, jobs: Sequence[Job]) -> list[Result]:
        """One result for each job, in order: output tensors, or the exception of this job. Never raises."""
        try:
            joined = self._run_joined(jobs) if len(jobs) > 1 else None
            return joined if joined is not None else [self._run_alone(job) for job in jobs]
        except BaseException as error:
            # The outermost place for one call: the thread and its other requests live on.
            LOG.exception("a call for %d requests failed outside the model", len(jobs))
            return [_to_request_error(error) for _ in jobs]

    def _run_joined(self, jobs: Sequence[Job]) -> list[Result] | None:
        """The results of one call for all jobs; None when each job has to run by itself."""
        if not self.is_sharing or len({job.row_shapes for job in jobs}) != 1:
            return None
        columns = zip(*(job.inputs for job in jobs), strict=True)
        shared = Timing()
        begun_s = time.perf_counter()
        for job in jobs:
            job.timing.called_s = begun_s
        try:
            outputs = self.run_one(tuple(np.concatenate(column) for column in columns), timing=shared)
        except (RequestError, MemoryError):
            return None
        total = sum(job.rows for job in jobs)
        if any(output.ndim == 0 or output.shape[0] != total for output in outputs):
            # What the proof said of every input does not hold of these: it holds no more.
            self._is_disproved = True
            LOG.error("batching is switched off: %d rows of input gave a different number of output rows", total)
            return None
        for job in jobs:
            job.timing.called_s = shared.called_s
            job.timing.call_s = shared.call_s
        return _split(outputs, [job.rows for job in jobs])

    def _run_alone(self, job: Job) -> Result:
        if job.future.done():
            # Its client went away while the jobs before it ran.
            return ()
        try:
            return self.run_one(job.inputs, timing=job.timing)
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
    """The jobs of the next call: the first, and others of its shape up to `rows_max` rows. The rest keeps its order."""
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
    """Number of rows of the next call."""
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
    return job.is_finite and first.is_finite and rows + job.rows <= rows_max and job.row_shapes == first.row_shapes


def deliver(jobs: Sequence[Job], results: Sequence[Result]) -> None:
    """Set the results of jobs on their futures, on the event loop; cancelled ones are left out."""
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
