"""The checks behind each guard: made once, of the model's signature, its statistics and what its answers always are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead_runtime import config
from fairlead_runtime.config import GuardMode
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import tops
from fairlead_runtime.inference.guarding import Check, Found, Guards
from fairlead_runtime.model import answer_kinds, guard_bounds, reference_statistics, row_measures, tolerance
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.guard_bounds import GuardBounds, InputBounds, MeasureBounds
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.row_measures import ROUGHNESS, Measure
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.model.tolerance import Extremes

Array = np.ndarray[Any, Any]
NEEDS_STATISTICS = frozenset({Guard.RANGE, Guard.SIZE, Guard.OUTLIER, Guard.PERTURBATION, Guard.SCORE})
FIELDS: Mapping[Guard, str] = {
    Guard.NOT_FINITE: "notFinite",
    Guard.RANGE: "range",
    Guard.SIZE: "size",
    Guard.OUTLIER: "outlier",
    Guard.PERTURBATION: "perturbation",
    Guard.IMPOSSIBLE_ANSWER: "impossibleAnswer",
    Guard.SCORE: "score",
}
_WHY_NOT: Mapping[Guard, str] = {
    Guard.NOT_FINITE: "no input is of floats",
    Guard.RANGE: "no input is of numbers that the statistics have bounds of",
    Guard.SIZE: "no input has texts or a free dimension beside the first",
    Guard.OUTLIER: "no input has measures that the statistics have bounds of",
    Guard.PERTURBATION: "no input has rows of more than 12 floats or 8-bit integers",
    Guard.IMPOSSIBLE_ANSWER: "no output was of finite floats in the trials before readiness",
    Guard.SCORE: "the answers have no scores that the statistics have bounds of",
}
TOLERATED_SHARE = 0.01
"""Of the rows of requests, found by one guard: what `FairleadGuardFindings` takes for no news."""

SHARE_MAX: Mapping[GuardMode, float] = {GuardMode.REJECT: 0.05, GuardMode.OBSERVE: 0.5}
"""Of the rows like the training data, what a guard may find by its bounds of few rows. Source: docs/decisions/0083."""

FAILURE = 0.001 / len(NEEDS_STATISTICS)
"""The probability that the training data of a revision is such that a guard finds more than it says."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Bounded:
    """A check, and the extremes of the training data that it holds rows to."""

    check: Check
    bounds: Extremes


def modes_of(given: config.Guards) -> dict[Guard, GuardMode]:
    """The guards that are not off."""
    modes = {
        Guard.NOT_FINITE: given.not_finite,
        Guard.RANGE: given.range,
        Guard.SIZE: given.size,
        Guard.OUTLIER: given.outlier,
        Guard.PERTURBATION: given.perturbation,
        Guard.IMPOSSIBLE_ANSWER: given.impossible_answer,
        Guard.SCORE: given.score,
    }
    return {guard: mode for guard, mode in modes.items() if mode is not GuardMode.OFF}


def build(
    modes: Mapping[Guard, GuardMode], signature: Signature, reference: reference_statistics.Found, kinds: AnswerKinds
) -> Guards:
    """The guards that are asked for.

    Raises:
        LoadError: the model, or the statistics beside it, give no means for one of them (GuardUnusable). A guard that
            would never find anything is worse than none.
    """
    statistics = reference.statistics
    bounds = statistics.guards if statistics is not None else None
    without = next((guard for guard in modes if guard in NEEDS_STATISTICS), None)
    if bounds is None and without is not None:
        why = reference.message or "the file statistics.json was written by an older version, without bounds for guards"
        text = f"needs the training data's bounds, but {why}: fairlead package --reference writes them; or set Off"
        raise _unusable(without, text)
    bounds = bounds or GuardBounds()
    measures = row_measures.of_signature(
        signature,
        statistics.known_words() if statistics is not None else {},
        {each.input: each for each in bounds.directions if _fits(signature, each.input, len(each.mean))},
    )
    bounded: Mapping[Guard, Sequence[_Bounded]] = {
        Guard.RANGE: _ranges(signature, bounds),
        Guard.SIZE: _sizes(signature, bounds),
        Guard.OUTLIER: _measured(signature, bounds, [each for each in measures if not _is_roughness(each)]),
        Guard.PERTURBATION: _measured(signature, bounds, [each for each in measures if _is_roughness(each)]),
        Guard.SCORE: _scores(signature, bounds.score),
    }
    made: dict[Guard, Sequence[Check]] = {
        Guard.NOT_FINITE: [_finite(i, spec) for i, spec in enumerate(signature.inputs) if spec.dtype.is_float],
        Guard.IMPOSSIBLE_ANSWER: [
            *(_distribution(i, signature.outputs[i]) for i in sorted(kinds.distributions)),
            *(_finite_answer(i, signature.outputs[i]) for i in sorted(kinds.finite - kinds.distributions)),
        ],
        **{guard: [each.check for each in found] for guard, found in bounded.items()},
    }
    tolerated = dict.fromkeys(modes, TOLERATED_SHARE)
    for guard, mode in modes.items():
        if not made[guard]:
            raise _unusable(guard, f"has nothing to look at: {_WHY_NOT[guard]}: set Off")
        if guard in bounded:
            share = _share_found(guard, mode, tolerance.combine([each.bounds for each in bounded[guard]]))
            tolerated[guard] = max(TOLERATED_SHARE, share)
    return Guards(modes, {guard: made[guard] for guard in modes}, tolerated)


def _share_found(guard: Guard, mode: GuardMode, bounds: Extremes) -> float:
    """The share of rows like the training data that the guard finds, at most; raises LoadError for one too large."""
    if not bounds.rows:
        raise _unusable(guard, "needs to know of how many rows its bounds are, which an older version did not write")
    share, most = tolerance.share_outside(bounds, FAILURE), SHARE_MAX[mode]
    if share <= most:
        return share
    needed = tolerance.rows_needed(bounds, most, FAILURE)
    other = "Observe or Off" if mode is GuardMode.REJECT else "Off"
    raise _unusable(
        guard,
        f"is {mode.value}, but its bounds are of {bounds.rows} rows and may find {share:.0%} of the rows like them; "
        f"{most:.0%} at most needs bounds of {needed} rows: package with more data, or set {other}",
    )


def _unusable(guard: Guard, text: str) -> LoadError:
    return LoadError(LoadReason.GUARD_UNUSABLE, f"spec.serving.guards.{FIELDS[guard]} {text}")


def _is_roughness(measure: Measure) -> bool:
    return measure.name.endswith(f"_{ROUGHNESS}")


def _fits(signature: Signature, index: int, count: int) -> bool:
    """Whether rows of the input have as many elements as the directions."""
    if index >= len(signature.inputs) or not row_measures.is_measured(signature.inputs[index]):
        return False
    columns = row_measures.column_count(signature.inputs[index])
    step = max(1, -(-(columns or 0) // guard_bounds.ELEMENTS_MAX))
    return columns is not None and -(-columns // step) == count


def _rows(spec: TensorSpec, array: Array) -> Array:
    """A matrix with a row for each row of the tensor; one row where its first dimension is not that of rows."""
    return array.reshape(len(array), -1) if spec.has_free_batch else array.reshape(1, -1)


def _first(bad: Any) -> int:
    return int(bad.argmax())


def _finite(index: int, spec: TensorSpec) -> Check:
    def check(inputs: Tensors) -> Found:
        array = inputs[index]
        rows = len(array) if spec.has_free_batch else 1
        # A sum that is finite has only finite terms; one that isn't may have overflowed.
        if math.isfinite(array.sum(dtype=np.float64)):
            return Found(rows)
        bad = ~np.isfinite(_rows(spec, array)).all(axis=1)
        if not bad.any():
            return Found(rows)
        text = f"input {spec.name!r}: row {_first(bad)} has a number that is not finite"
        return Found(rows, int(bad.sum()), text)

    return check


def _ranges(signature: Signature, bounds: GuardBounds) -> list[_Bounded]:
    found: list[_Bounded] = []
    for each in bounds.inputs:
        if each.input >= len(signature.inputs) or not each.low:
            continue
        spec = signature.inputs[each.input]
        if spec.dtype in (DType.STRING, DType.BOOL):
            continue
        columns = row_measures.column_count(spec) if row_measures.is_table(spec) else 1
        if len(each.low) == columns:
            extremes = Extremes(rows=each.rows, sides=2 * len(each.low), outside=each.outside)
            found.append(_Bounded(_range(each, spec), extremes))
    return found


def _range(given: InputBounds, spec: TensorSpec) -> Check:
    pairs = [guard_bounds.widen(*pair) for pair in zip(given.low, given.high, strict=True)]
    is_table = row_measures.is_table(spec)
    # Numbers of any type are compared in its own, so that no large one is rounded into the bounds.
    low, high = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    least, most = float(low.min()), float(high.max())
    is_one = len(pairs) == 1

    def check(inputs: Tensors) -> Found:
        array = inputs[given.input]
        count = len(array) if spec.has_free_batch else 1
        # NaN is the least and the most of all, and on no side of a bound.
        if is_one and array.min() >= least and array.max() <= most:
            return Found(count)
        rows = _rows(spec, array)
        wrong = ~((rows >= low) & (rows <= high))
        if given.has_missing:
            wrong &= ~np.isnan(rows)
        bad = wrong.any(axis=1)
        if not bad.any():
            return Found(count)
        row = _first(bad)
        column = int(wrong[row].argmax())
        at = column if is_table and not is_one else 0
        what = f"input {spec.name!r}: row {row}: its element {column} is {rows[row, column].item():.6g}"
        return Found(count, int(bad.sum()), f"{what}, outside {_between(low[at], high[at])}")

    return check


def _between(low: float, high: float) -> str:
    if low == -math.inf:
        return f"0 to {high:.6g}, the most of the training data with a margin"
    return f"{low:.6g} to {high:.6g}, the range of the training data with a margin"


def _sizes(signature: Signature, bounds: GuardBounds) -> list[_Bounded]:
    found: list[_Bounded] = []
    for each in bounds.inputs:
        if each.input >= len(signature.inputs):
            continue
        spec = signature.inputs[each.input]
        free = [at for at, size in enumerate(spec.shape or ()) if size is None and at > 0]
        is_text = spec.dtype is DType.STRING
        if not each.sizes or len(each.sizes) != len(free) + is_text:
            continue
        if free:
            found.append(_Bounded(_dimensions(each, spec, free), Extremes(rows=each.rows, sides=len(free))))
        if is_text:
            found.append(_Bounded(_bytes(each, spec), Extremes(rows=each.rows, sides=1)))
    return found


def _dimensions(given: InputBounds, spec: TensorSpec, free: Sequence[int]) -> Check:
    limits = [(at, math.ceil(guard_bounds.widen(0, size)[1])) for at, size in zip(free, given.sizes, strict=False)]

    def check(inputs: Tensors) -> Found:
        array = inputs[given.input]
        count = len(array) if spec.has_free_batch else 1
        for at, most in limits:
            if array.shape[at] > most:
                text = f"dimension {at} has the size {array.shape[at]}, more than {most}, which is the largest of"
                # One of the rows is as large; the others are made as large to fit in one tensor.
                return Found(count, min(1, count), f"input {spec.name!r}: {text} the training data with a margin")
        return Found(count)

    return check


def _bytes(given: InputBounds, spec: TensorSpec) -> Check:
    most = math.ceil(guard_bounds.widen(0, given.sizes[-1])[1])

    def check(inputs: Tensors) -> Found:
        array = inputs[given.input]
        count = len(array) if spec.has_free_batch else 1
        if max(map(len, array.reshape(-1).tolist())) <= most:
            return Found(count)
        lengths = np.array([max(map(len, row)) for row in _rows(spec, array).tolist()])
        bad = lengths > most
        row = _first(bad)
        text = f"row {row} has a text of {lengths[row]} bytes, more than {most}, which is the longest of"
        return Found(count, int(bad.sum()), f"input {spec.name!r}: {text} the training data with a margin")

    return check


def _measured(signature: Signature, bounds: GuardBounds, measures: Sequence[Measure]) -> list[_Bounded]:
    known = {each.name: each for each in bounds.measures}
    missing = {each.input for each in bounds.inputs if each.has_missing}
    return [
        _Bounded(
            _measure(each, known[each.name], signature.inputs[each.input], has_missing=each.input in missing),
            _extremes(known[each.name], sides=2 if each.has_low_bound else 1),
        )
        for each in measures
        if each.name in known
    ]


def _extremes(given: MeasureBounds, *, sides: int) -> Extremes:
    return Extremes(rows=given.rows, sides=sides, outside=given.outside)


def _measure(measure: Measure, given: MeasureBounds, spec: TensorSpec, *, has_missing: bool) -> Check:
    low, high = guard_bounds.widen(given.low, given.high)
    if not measure.has_low_bound:
        low = -math.inf

    def check(inputs: Tensors) -> Found:
        values = measure.read(inputs[measure.input])
        if len(values) == 1 and low <= values.item() <= high:
            return Found(1)
        bad = ~((values >= low) & (values <= high))
        if has_missing:
            # A row with a missing number has no such measure, and the training data has such rows.
            bad &= ~np.isnan(values)
        if not bad.any():
            return Found(len(values))
        row = _first(bad)
        what = f"input {spec.name!r}: row {row}: {measure.text} is {values[row].item():.6g}"
        return Found(len(values), int(bad.sum()), f"{what}, outside {_between(low, high)}")

    return check


def _distribution(index: int, spec: TensorSpec) -> Check:
    def check(outputs: Tensors) -> Found:
        array = outputs[index]
        good = answer_kinds.are_distributions(array)
        if good.all():
            return Found(len(good))
        bad = ~good
        row = _first(bad)
        text = f"the answer's output {spec.name!r}: row {row} is no distribution"
        if array.ndim == 2 and row < len(array):
            text += f": its least number is {array[row].min().item():.6g} and the sum {array[row].sum().item():.6g}"
        return Found(len(good), int(bad.sum()), f"{text}; the bounds are 0 and 1")

    return check


def _finite_answer(index: int, spec: TensorSpec) -> Check:
    check_input = _finite(index, spec)

    def check(outputs: Tensors) -> Found:
        found = check_input(outputs)
        return dataclasses.replace(found, sentence=found.sentence.replace("input ", "the answer's output ", 1))

    return check


def _scores(signature: Signature, given: MeasureBounds | None) -> list[_Bounded]:
    """Classes have a least highest score; other numbers have bounds at both ends."""
    if given is None:
        return []
    found = tops.scores_of(signature)
    if found is None:
        return []
    index, kind = found
    spec = signature.outputs[index]
    low, high = guard_bounds.widen(given.low, given.high)
    if kind is tops.Kind.CLASS:
        high = math.inf

    def check(outputs: Tensors) -> Found:
        rows = _rows(spec, outputs[index])
        scores = rows.max(axis=1)
        bad = ~((scores >= low) & (scores <= high))
        if not bad.any():
            return Found(len(scores))
        row = _first(bad)
        what = "highest score" if kind is tops.Kind.CLASS else "number"
        side = f"below {low:.6g}" if kind is tops.Kind.CLASS else f"outside {low:.6g} to {high:.6g}"
        text = f"row {row}: its {what} is {scores[row].item():.6g}, {side}"
        sentence = f"the answer's output {spec.name!r}: {text}, what the evaluation data gave with a margin"
        return Found(len(scores), int(bad.sum()), sentence)

    return [_Bounded(check, _extremes(given, sides=1 if kind is tops.Kind.CLASS else 2))]
