"""Samples rows of answered requests into sketches, at a bounded cost: one row of a request, so many a second."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

from fairlead_runtime.inference import tops
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.reference_statistics import CLASS, SCORE
from fairlead_runtime.model.row_features import RowReader
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.sketches import Sketch

LOG = logging.getLogger(__name__)

SPACING_S = 0.01
"""The least time between two rows that are sampled: at most 100 rows a second."""


class RowSampler:
    """Lives on the server's loop, on the hot path: a request that isn't sampled costs one look at the clock."""

    def __init__(
        self,
        signature: Signature,
        reader: RowReader,
        sketches: Sequence[Sketch],
        *,
        clock: Callable[[], float] = time.monotonic,
        pick: Callable[[int], int] = random.randrange,
    ) -> None:
        by_name = {sketch.feature: sketch for sketch in sketches}
        self._reader = reader
        self._of_inputs = tuple(by_name.get(name) for name in self._reader.names)
        self._score, self._class = by_name.get(SCORE), by_name.get(CLASS)
        self._read_top = tops.row_reader(signature)
        self._clock = clock
        self._pick = pick
        self._next_s = float("-inf")

    def sample(self, inputs: Tensors, outputs: Tensors) -> None:
        """Count one of the first rows of an answered request, if it is time for one.

        `inputs` and `outputs` are in the signature's order, with the rows in the first dimension of each input. Raises
        nothing: after a row that can't be read, no further one is sampled.
        """
        now_s = self._clock()
        if now_s < self._next_s:
            return
        try:
            self._count(inputs, outputs, now_s)
        except Exception:
            # The prediction is computed, and has to be answered whatever becomes of its sample.
            LOG.exception("no more rows are sampled for drift, because one could not be read")
            self._next_s = float("inf")

    def _count(self, inputs: Tensors, outputs: Tensors, now_s: float) -> None:
        rows = min(tops.ROWS_MAX, *map(len, inputs))
        if not rows:
            return
        self._next_s = now_s + SPACING_S
        row = self._pick(rows)
        for sketch, value in zip(self._of_inputs, self._reader.read(inputs, row), strict=True):
            if sketch is not None:
                sketch.add(value)
        self._sample_answer(outputs, row)

    def _sample_answer(self, outputs: Tensors, row: int) -> None:
        found = self._read_top(outputs, row) if self._score is not None or self._class is not None else None
        if found is None:
            return
        if self._score is not None and found.scores:
            self._score.add(found.scores[0])
        if self._class is not None and found.kind is tops.Kind.CLASS and found.values:
            self._class.add(found.values[0])
