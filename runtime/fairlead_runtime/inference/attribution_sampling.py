"""Explains a bounded sample of answered predictions, and counts which part of a row decides. No row is kept.

The work is done on the thread of the explanations, which drops it where it has anything else to do.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fairlead_runtime import config
from fairlead_runtime.attribution_counters import AttributionCounters, Outcome
from fairlead_runtime.errors import LoadError, RequestError
from fairlead_runtime.inference import tops
from fairlead_runtime.inference.explaining import ExplanationQueue
from fairlead_runtime.model.explaining import shares
from fairlead_runtime.model.explaining.shares import NotExplainedError, ShareReader
from fairlead_runtime.model.predictor import Array, InputRefusedError, LoadedModel, ModelFailedError, Tensors
from fairlead_runtime.model.reference_statistics import Found
from fairlead_runtime.sketches import ShareSketch

LOG = logging.getLogger(__name__)
PAUSE_PER_WORK = 19
"""After an explanation the thread rests so many times as long as it took: they take at most a twentieth of the time."""
LOGGED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How rows are explained, and where their shares are counted beside those of the reference."""

    reader: ShareReader
    sketch: ShareSketch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What became of one row, and how long the thread worked for it."""

    outcome: Outcome
    spent_s: float
    shares: Array | None = None
    why: str = ""


def find_comparison(model: LoadedModel, found: Found, *, shares_calls: bool) -> Comparison | str:
    """The comparison with the reference beside a model, or half a sentence that says why there is none."""
    scores = tops.scores_of(model.signature)
    obstacle = shares.find_obstacle(model.signature, has_scores=scores is not None)
    if obstacle is not None or scores is None:
        return obstacle or "the model has no scores"
    if found.statistics is None:
        return found.message
    sketch, reference = found.statistics.attribution_sketch(), found.statistics.attributions
    if sketch is None or reference is None:
        return "the reference statistics have none: package the model again with --reference"
    reader = ShareReader(model, scores[0], reference.baselines, shares_calls=shares_calls)
    return Comparison(reader=reader, sketch=sketch)


class AttributionSampler:
    """Lives on the server's loop, on the hot path: a request that isn't sampled costs one look at the clock."""

    def __init__(
        self,
        queue: ExplanationQueue,
        comparison: Comparison | str,
        counters: AttributionCounters,
        *,
        clock: Callable[[], float] = time.monotonic,
        pick: Callable[[int], int] = random.randrange,
    ) -> None:
        """`comparison` is a text where there are no reference attributions: then rows are counted as NoReference."""
        self._queue = queue
        self._comparison = comparison
        self._counters = counters
        self._clock = clock
        self._pick = pick
        self._spacing_s = float("inf")
        self._next_s = float("inf")
        self._next_line_s = float("-inf")

    def follow(self, user_config: Mapping[str, object] | None) -> None:
        """Explain as many rows as the operator asks for from now on. What can't be read turns it off."""
        try:
            asked = config.parse_explanations(user_config)
        except LoadError as error:
            asked = None
            LOG.error("no predictions are explained for monitoring: %s", error.sentence)
        spacing_s = float("inf") if asked is None else 60 / asked.samples_per_minute
        if spacing_s == self._spacing_s:
            return
        self._spacing_s = spacing_s
        self._next_s = self._clock() if asked is not None else float("inf")
        if asked is None:
            LOG.info("predictions are not explained for monitoring any more")
            return
        self._counters.is_on = True
        if isinstance(self._comparison, str):
            LOG.warning("no predictions are explained for monitoring: %s", self._comparison)
        else:
            self._counters.sketch = self._comparison.sketch
            LOG.info("at most %d predictions a minute are explained for monitoring", asked.samples_per_minute)

    def sample(self, inputs: Tensors) -> None:
        """Explain one of the first rows of an answered request, if it is time for one. Raises nothing."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        try:
            self._sample(inputs, now_s)
        except Exception:
            # The prediction is computed, and has to be answered whatever becomes of its explanation.
            LOG.exception("no more predictions are explained for monitoring, because a row could not be read")
            self._next_s = float("inf")

    def _sample(self, inputs: Tensors, now_s: float) -> None:
        if isinstance(self._comparison, str):
            self._next_s = now_s + self._spacing_s
            self._counters.add(Outcome.NO_REFERENCE)
            return
        rows = min(tops.ROWS_MAX, len(inputs[0]))
        if not rows:
            return
        self._next_s = now_s + self._spacing_s
        # A copy: the array is a view of the request, which is not to be held.
        row = self._pick(rows)
        copied, reader = inputs[0][row : row + 1].copy(), self._comparison.reader
        offered = self._queue.offer(lambda is_awaited: _explain(reader, copied, is_awaited))
        if offered is None:
            self._counters.add(Outcome.BUSY)
            return
        offered.add_done_callback(self._settle)

    def _settle(self, offered: asyncio.Future[_Done]) -> None:
        if offered.cancelled():
            self._counters.add(Outcome.BUSY)
            return
        error = offered.exception()
        if error is not None:
            # The queue has logged the cause.
            self._counters.add(Outcome.FAILED)
            return
        done = offered.result()
        self._counters.add(done.outcome)
        if done.outcome is Outcome.FAILED and self._clock() >= self._next_line_s:
            self._next_line_s = self._clock() + LOGGED_EVERY_S
            LOG.warning("a prediction could not be explained for monitoring: %s", done.why)
        self._next_s = max(self._next_s, self._clock() + PAUSE_PER_WORK * done.spent_s)
        if done.shares is not None and not isinstance(self._comparison, str):
            self._comparison.sketch.add(done.shares.tolist())


def _explain(reader: ShareReader, row: Array, is_awaited: Callable[[], bool]) -> _Done:
    """On the thread of the explanations; raises AbandonedError."""
    begun_s = time.perf_counter()
    found: Array | None = None
    why = ""
    try:
        found = reader.read(row, is_awaited)
        outcome = Outcome.COUNTED
    except (NotExplainedError, InputRefusedError):
        outcome = Outcome.NOT_EXPLAINED
    except (ModelFailedError, RequestError) as error:
        # RequestError: a part of the model in another process is gone.
        outcome, why = Outcome.FAILED, str(error)
    return _Done(outcome=outcome, spent_s=time.perf_counter() - begun_s, shares=found, why=why)
