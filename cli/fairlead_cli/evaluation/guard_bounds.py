"""The extremes of training data that a replica's guards compare requests with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead_cli.evaluation.labelled_data import Array
from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime.model import row_measures
from fairlead_runtime.model.guard_bounds import (
    DIRECTIONS_MAX,
    INPUTS_MAX,
    Directions,
    GuardBounds,
    InputBounds,
    MeasureBounds,
    is_finite,
)
from fairlead_runtime.model.reference_statistics import Vocabulary
from fairlead_runtime.model.row_measures import Measure
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

ROWS_MAX = 10_000
"""Of a larger half so many rows are read; ranges and sizes are of all rows."""

REST_MIN = 1e-3
"""The least variance along the other directions, as a share of the average: below that it is rounding."""

_BLOCK_ROWS = 256


def compute(
    signature: Signature,
    inputs: Sequence[Array],
    order: Sequence[int],
    answers: Counts | None,
    vocabularies: Sequence[Vocabulary],
) -> GuardBounds:
    """The bounds of rows, and of the scores of the answers to the evaluation data.

    Of the random `order` of the rows, the first half gives the directions, as it gave the vocabularies, and the second
    the bounds of measures that know either, so that those are of rows that neither knows.
    """
    specs = list(enumerate(signature.inputs[:INPUTS_MAX]))
    half = len(order) // 2
    known, held_out = np.array(order[:half][:ROWS_MAX], int), np.array(order[half:][:ROWS_MAX], int)
    every = np.concatenate([known, held_out])
    directions = tuple(
        made
        for index, spec in specs
        if spec.dtype is not DType.STRING and row_measures.is_measured(spec)
        if row_measures.column_count(spec) is not None
        if (made := _directions(index, spec, inputs[index][known])) is not None
    )
    measures = row_measures.of_signature(
        signature,
        {each.input: frozenset(each.words) for each in vocabularies},
        {each.input: each for each in directions},
    )
    return GuardBounds(
        inputs=tuple(_of_input(index, spec, inputs[index]) for index, spec in specs),
        measures=tuple(
            found
            for each in measures
            if (found := _of_measure(each, inputs[each.input][held_out if each.is_learned else every])) is not None
        ),
        directions=directions,
        score=_extremes("score", np.array(answers.scores, np.float64)) if answers is not None else None,
    )


def _of_measure(measure: Measure, rows: Array) -> MeasureBounds | None:
    values = _read(measure, rows)
    # A row without the measure, for want of a number, passes where the training data has such rows.
    has_missing = bool(rows.dtype.kind == "f" and np.isnan(rows).any())
    return _extremes(measure.name, values, np.isnan(values) if has_missing else None)


def _read(measure: Measure, rows: Array) -> Array:
    """By blocks: a replica reads no more rows at once, and of many texts only some."""
    with np.errstate(all="ignore"):
        blocks = [measure.read(rows[at : at + _BLOCK_ROWS]) for at in range(0, len(rows), _BLOCK_ROWS)]
    return np.concatenate(blocks) if blocks else np.array([])


def _extremes(name: str, values: Array, passed: Array | None = None) -> MeasureBounds | None:
    """Values that are not finite are outside of the bounds, but for those that are passed."""
    finite = values[np.isfinite(values)]
    if not finite.size or not is_finite(float(finite.min())) or not is_finite(float(finite.max())):
        return None
    return MeasureBounds(
        name=name,
        low=float(finite.min()),
        high=float(finite.max()),
        rows=values.size,
        outside=values.size - finite.size - (int(passed.sum()) if passed is not None else 0),
    )


def _of_input(index: int, spec: TensorSpec, array: Array) -> InputBounds:
    sizes = [array.shape[at] for at, size in enumerate(spec.shape or ()) if size is None and at > 0]
    if spec.dtype is DType.STRING:
        longest = max((len(text) for text in array.reshape(-1).tolist()), default=0)
        return InputBounds(input=index, sizes=(*sizes, longest), rows=len(array))
    if spec.dtype is DType.BOOL:
        return InputBounds(input=index, sizes=tuple(sizes), rows=len(array))
    columns = array.reshape(len(array), -1) if row_measures.is_table(spec) else array.reshape(-1, 1)
    has_missing = bool(array.dtype.kind == "f" and np.isnan(array).any())
    pairs = [_pair(column) for column in columns.T]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        # A column without any number can't be bounded, and bounds are of all columns.
        return InputBounds(input=index, has_missing=has_missing, sizes=tuple(sizes), rows=len(array))
    infinite = np.isinf(array.reshape(len(array), -1)).any(axis=1) if array.dtype.kind == "f" else np.zeros(0)
    return InputBounds(
        input=index,
        rows=len(array),
        outside=int(infinite.sum()),
        low=tuple(low for low, _ in known),
        high=tuple(high for _, high in known),
        has_missing=has_missing,
        sizes=tuple(sizes),
    )


def _pair(column: Array) -> tuple[float, float] | None:
    finite = column[np.isfinite(column)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if is_finite(low) and is_finite(high) else None


def _directions(index: int, spec: TensorSpec, rows: Array) -> Directions | None:
    """The principal directions of the rows; None of rows that can't have any.

    The columns of a table have units of their own, so each has its own scale.
    """
    part = row_measures.elements(rows).astype(np.float64) if len(rows) else np.zeros((0, 1))
    part[~np.isfinite(part)] = np.nan
    if len(part) < 2 or np.isnan(part).all(axis=0).any():
        return None
    mean = np.nanmean(part, axis=0)
    part = np.where(np.isnan(part), 0, part - mean)
    squares = (part**2).mean(axis=0)
    average = float(squares.mean())
    if not is_finite(average) or not average or not all(map(is_finite, mean.tolist())):
        return None
    scale = np.sqrt(
        np.where(squares > 0, squares, average) if row_measures.is_table(spec) else np.full_like(squares, average)
    )
    part /= scale
    _, singular, vectors = np.linalg.svd(part, full_matrices=False)
    variances = singular**2 / len(part)
    total = float((part**2).mean(axis=0).sum())
    size = part.shape[1]
    floor = REST_MIN * total / size
    count = int((variances[:DIRECTIONS_MAX] > floor).sum())
    rest = (total - float(variances[:count].sum())) / max(1, size - count)
    return Directions(
        input=index,
        mean=tuple(_short(mean)),
        scale=tuple(_short(scale)),
        components=tuple(tuple(_short(each)) for each in vectors[:count]),
        variances=tuple(_short(variances[:count])),
        rest=max(rest, floor),
    )


def _short(values: Array) -> list[float]:
    """Six digits: a replica computes with seven, and the file stays small."""
    return [float(f"{value:.6g}") for value in values.tolist()]
