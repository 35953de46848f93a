"""One model and its limits, free of any protocol: names, versions, readiness, admission, deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.attribution_sampling import AttributionSampler
from fairlead_runtime.inference.executor import Executor
from fairlead_runtime.inference.explaining import ExplanationQueue
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.inference.mean_load import MeanLoad
from fairlead_runtime.inference.sampling import RowSampler
from fairlead_runtime.inference.timing import Timing
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.model import evaluation_record
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import VariantChoice

T = TypeVar("T")
CALL_S_MAX = 60.0
"""A call of the model that takes longer, and twice as long as any client waits, will not return."""


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this replica is to its clients; to its gateways it is `name`, which no other process has."""

    name: str
    model: str
    revision: str
    number: int
    versions: frozenset[str]
    digest: str
    engine: str
    folder: str | None = None
    evaluation: evaluation_record.Found = evaluation_record.NOTHING
    variant: VariantChoice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """How many requests are taken, and for how long each may wait."""

    ongoing_max: int
    queued_max: int
    timeout_s: float


class Dataplane:
    """Takes checked tensors and gives tensors, now or later. Lives on the server's loop."""

    def __init__(
        self,
        identity: Identity,
        signature: Signature,
        *,
        executor: Executor,
        admission: Admission,
        metrics: ReplicaMetrics,
        sampler: RowSampler | None = None,
    ) -> None:
        self.identity = identity
        self.signature = signature
        self.phase = Phase.LOADING
        self._executor = executor
        self._admission = admission
        self.metrics = metrics
        self.sampler = sampler
        self.guards: Guards | None = None
        """What judges predictions; set before the first request, and None where nobody asks for it."""
        self.attributions: AttributionSampler | None = None
        """What explains a sample of the answered predictions; set before the first request."""
        self.is_logged = False
        """Whether answers keep their inputs and outputs for the payload log."""
        self.absent: Callable[[], str | None] = _nothing
        """Which parts of the model in other processes are not there now, as a sentence; None where it is whole."""
        self.is_traced = False
        """Whether answers say where the time of their prediction went; set before the first request."""
        self.explanations = ExplanationQueue(metrics.explanations, timeout_s=admission.timeout_s)
        self._load = MeanLoad()
        # One thread: decoding holds the interpreter's lock, so a second one would only take turns from the loop.
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fairlead-codec")

    @property
    def pending(self) -> int:
        """Predictions admitted and not answered, running or queued."""
        return self._load.count

    def take_mean_pending(self) -> float:
        """The same on average since it was last asked; from any thread."""
        return self._load.take_mean()

    @property
    def shown_phase(self) -> Phase:
        """The phase as clients see it: a model that is not whole is loading."""
        return Phase.LOADING if self.phase is Phase.READY and self.absent() is not None else self.phase

    @property
    def is_ready(self) -> bool:
        """Whether predictions are answered; while it drains, they are."""
        return self.shown_phase is not Phase.LOADING

    @property
    def queued(self) -> int:
        """Requests that wait for a call of the model."""
        return self._executor.queued()

    @property
    def is_sharing(self) -> bool:
        """Whether several requests may share a call of the model."""
        return self._executor.is_sharing

    def require_model(self, model: str, version: str | None) -> None:
        """Raises RequestError when the request names another model or version."""
        if model != self.identity.model:
            raise RequestError(
                RequestReason.UNKNOWN_MODEL,
                f"model {model[:64]!r} is not served here; this replica serves {self.identity.model!r}",
            )
        if version is not None and version not in self.identity.versions:
            known = ", ".join(sorted(self.identity.versions))
            text = f"the model {model!r} has no version {version[:64]!r} here; this replica serves {known}"
            raise RequestError(RequestReason.UNKNOWN_MODEL, text)

    def trouble(self) -> str | None:
        """Why this replica can never answer again; None when it can. Safe to call from any thread."""
        return self._executor.trouble(max(CALL_S_MAX, 2 * self._admission.timeout_s))

    def infer(self, inputs: Tensors, timing: Timing | None = None) -> Tensors | asyncio.Future[Tensors]:
        """Predict. Inputs and outputs are tensors in the signature's order, checked by `inference/codec.py`.

        The result is there at once when the call was quick enough to run on the event loop; otherwise it is a future,
        and cancelling it cancels the request. `timing` has the call's duration once the result is there.

        Raises:
            RequestError: requests share calls and the inputs differ in their rows (InvalidInput), the model is not
                loaded yet (NotReady), or the queue is full (QueueFull). The future raises the same, StageGone where a
                part of the model is gone, and Deadline after `timeout_s`.
        """
        if self._executor.is_sharing:
            # Else the model itself judges: the values and the row splits of a ragged tensor differ in their rows.
            codec.check_rows(self.signature.inputs, inputs)
        if self.phase is Phase.LOADING:
            raise RequestError(RequestReason.NOT_READY, "the model is not loaded yet")
        self._admit()
        self._load.add(1)
        try:
            result = self._executor.submit(inputs, timing)
        except BaseException:
            self._load.add(-1)
            raise
        if not isinstance(result, asyncio.Future):
            self._load.add(-1)
            return result
        self.metrics.pending = self.pending
        timer = result.get_loop().call_later(self._admission.timeout_s, _expire, result, self._admission.timeout_s)
        result.add_done_callback(self._make_callback(timer))
        return result

    async def run_beside(self, function: Callable[[], T], *, is_new: bool) -> T:
        """Runs the decoding or encoding of a large request on a thread; raises RequestError for a new one too many."""
        if is_new:
            self._admit()
        self._load.add(1)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._beside, function)
        finally:
            self._load.add(-1)

    def close(self) -> None:
        """End the threads; waiting requests fail."""
        self._executor.close()
        self.explanations.close()
        self._beside.shutdown(wait=False, cancel_futures=True)

    def _admit(self) -> None:
        if self.pending >= self._admission.ongoing_max + self._admission.queued_max:
            self.metrics.rejected += 1
            raise RequestError(RequestReason.QUEUE_FULL, f"the queue is full: {self.pending} requests are waiting")

    def _make_callback(self, timer: asyncio.TimerHandle) -> Callable[[asyncio.Future[Tensors]], None]:
        def settle(_: asyncio.Future[Tensors]) -> None:
            timer.cancel()
            self._load.add(-1)
            self.metrics.pending = self.pending

        return settle


def _nothing() -> None:
    """For a model that is in this process as a whole."""


def _expire(future: asyncio.Future[Tensors], timeout_s: float) -> None:
    if not future.done():
        future.set_exception(RequestError(RequestReason.DEADLINE, f"no prediction within {timeout_s:g} s"))
