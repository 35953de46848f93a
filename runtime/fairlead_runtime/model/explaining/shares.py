"""Which share each part of a row has in its top score: the profile whose mean over rows is compared with the reference.

A part is replaced by its baseline; its weight is the size of the change of the row's top score. The shares of a row are
its weights divided by their sum, so each is from 0 to 1 and all together are 1. That holds for each engine, needs one
evaluation of the model for each part, and makes rows with steep and with flat scores count alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fairlead_runtime.model.explaining import occlusion
from fairlead_runtime.model.explaining.work import Work
from fairlead_runtime.model.predictor import Array, LoadedModel
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

COLUMNS_MAX = 64
"""A row with up to so many numbers has a part for each of them."""
REGIONS_MAX = 16
"""A longer row is cut into at most so many regions: a grid over an image, pieces of a long row."""
ELEMENTS_MAX = 1 << 18
"""A row with more numbers is not explained."""
NOTHING = 1e-3
"""Where all parts together change the score by this part of it at most, no part decides."""


class NotExplainedError(Exception):
    """A row has no shares: it or a score is not finite. The text is half a sentence."""


def find_obstacle(signature: Signature, *, has_scores: bool) -> str | None:
    """Why the rows of a model have no shares, as half a sentence; None where they have."""
    if len(signature.inputs) != 1:
        return f"the model has {len(signature.inputs)} inputs, not one"
    spec = signature.inputs[0]
    if spec.dtype in (DType.STRING, DType.BOOL):
        return f"the input {spec.name!r} holds no numbers"
    if not spec.has_free_batch or spec.shape is None or None in spec.shape[1:]:
        return f"the rows of the input {spec.name!r} have no fixed shape"
    if not 1 <= math.prod(_row_shape(spec)) <= ELEMENTS_MAX:
        return f"a row of the input {spec.name!r} has no or more than {ELEMENTS_MAX} numbers"
    return None if has_scores else "none of the model's outputs has scores of a known number for each row"


def regions(spec: TensorSpec) -> Array:
    """The number of the part, from 0, that each element of a row belongs to. The rows have a fixed shape."""
    shape = _row_shape(spec)
    return occlusion.split(shape, _regions_max(math.prod(shape)))


def count_parts(spec: TensorSpec) -> int:
    """How many parts a row has: at most COLUMNS_MAX."""
    return int(regions(spec).max()) + 1


def find_baselines(spec: TensorSpec, rows: Array) -> tuple[float, ...]:
    """What stands for "nothing" in each part: the mean of known rows, and 0 for whole numbers, which may be ids.

    8-bit integers are pixels, so they have a mean.
    """
    parts = count_parts(spec)
    if not spec.dtype.is_float and spec.dtype is not DType.UINT8:
        return (0.0,) * parts
    values = rows.reshape(len(rows), -1).astype(np.float64)
    is_finite = np.isfinite(values)
    flat = regions(spec).reshape(-1)
    sums = np.bincount(flat, weights=np.where(is_finite, values, 0).sum(axis=0), minlength=parts)
    counts = np.bincount(flat, weights=is_finite.sum(axis=0), minlength=parts)
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    return tuple((np.rint(means) if spec.dtype is DType.UINT8 else means).tolist())


class ShareReader:
    """Reads the shares of single rows of one model. For one thread, while others call the model."""

    def __init__(self, model: LoadedModel, output: int, baselines: Sequence[float], *, shares_calls: bool) -> None:
        """`output` has the scores; `baselines` has one number for each part of a row."""
        spec = model.signature.inputs[0]
        self._predictor = model.predictor
        self._output = output
        self._regions = regions(spec)
        self._parts = count_parts(spec)
        self._shares_calls = shares_calls
        self._baseline = np.asarray(baselines)[self._regions].astype(spec.dtype.numpy)[np.newaxis]

    def read(self, row: Array, is_awaited: Callable[[], bool]) -> Array:
        """The shares of the parts and, last, of nothing: float64 of shape [parts + 1], together 1.

        `row` has the shape [1, …]. The last share is 1 where no part by itself changes the score, else 0.

        Raises:
            NotExplainedError: the row, or a score, is not finite.
            AbandonedError: `is_awaited` became false.
            InputRefusedError, ModelFailedError: as the model does.
        """
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            raise NotExplainedError("the row is not finite")
        scores = self._scores(row)[0]
        target = int(np.argmax(scores))
        work = Work(is_awaited=is_awaited, shares_calls=self._shares_calls, classes=len(scores))
        found = occlusion.attribute(
            lambda rows: self._scores(rows)[:, target], row, self._baseline, work, regions_max=_regions_max(row.size)
        )
        weights = np.abs(np.bincount(self._regions.reshape(-1), weights=found.reshape(-1), minlength=self._parts))
        total, score = float(weights.sum()), float(scores[target])
        if not math.isfinite(total) or not math.isfinite(score):
            raise NotExplainedError("a score is not finite")
        if total <= NOTHING * abs(score):
            return np.append(np.zeros(self._parts), 1.0)
        return np.append(weights / total, 0.0)

    def _scores(self, rows: Array) -> Array:
        found = np.asarray(self._predictor((rows,))[self._output])
        return found.reshape(len(found), -1).astype(np.float64)


def _regions_max(elements: int) -> int:
    return COLUMNS_MAX if elements <= COLUMNS_MAX else REGIONS_MAX


def _row_shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for size in (spec.shape or ())[1:] if size is not None)
