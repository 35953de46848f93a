"""Calls a loaded model on labelled data and counts what is right, by the rule that serving uses for feedback."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.evaluation.labelled_data import LabelledData
from fairlead_runtime.feedback.ledger import THRESHOLD
from fairlead_runtime.inference import tops
from fairlead_runtime.model.evaluation_record import CLASSES_MAX, ClassRow
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError

BATCH_ROWS = tops.ROWS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The class predicted for each sample (None where a score is no number) beside its label.

    `scores` are the highest of each sample, or its one number; none where the model gives whole numbers.
    """

    kind: tops.Kind
    labels: Sequence[int]
    predicted: Sequence[int | None]
    scores: Sequence[float] = ()

    @property
    def correct(self) -> int:
        """How many predictions are their sample's label."""
        return sum(label == predicted for label, predicted in zip(self.labels, self.predicted, strict=True))


def count(model: LoadedModel, data: LabelledData) -> Counts:
    """Raises EvaluationError where the model fails on the data, or its answers are no classes."""
    read = tops.reader(model.signature)
    predicted: list[int | None] = []
    scores: list[float] = []
    kind = tops.Kind.CLASS
    for start in range(0, len(data.labels), BATCH_ROWS):
        rows = slice(start, start + BATCH_ROWS)
        try:
            found = read(model.predictor(tuple(array[rows] for array in data.inputs)))
        except (InputRefusedError, ModelFailedError) as error:
            text = f"the model fails on the rows from {start}: {error}"
            raise EvaluationError(text) from None
        labels = data.labels[rows]
        if found is None or len(found.values) != len(labels):
            names = ", ".join(repr(spec.name) for spec in model.signature.outputs)
            text = f"none of the model's outputs ({names}) has scores of the shape [rows, classes] or [rows, 1]"
            raise EvaluationError(f"{text}, which Accuracy needs")
        if found.kind is tops.Kind.NUMBER and labels.max() > 1:
            text = f"the model gives one number a row, so a label must be 0 or 1, but 'labels' holds {labels.max()}"
            raise EvaluationError(text)
        kind = found.kind
        predicted += [_class(kind, value) for value in found.values]
        scores += found.scores
    return Counts(kind=kind, labels=data.labels.tolist(), predicted=predicted, scores=scores)


def _class(kind: tops.Kind, value: float) -> int | None:
    if math.isnan(value) or value == tops.NO_CLASS:
        return None
    return int(value >= THRESHOLD) if kind is tops.Kind.NUMBER else int(value)


def table(counts: Counts, names: Sequence[str]) -> tuple[tuple[ClassRow, ...], int]:
    """A row for each class that has a name, a sample or a prediction, and how many rows were left out at the end."""
    samples, predicted = Counter(counts.labels), Counter(counts.predicted)
    pairs = zip(counts.labels, counts.predicted, strict=True)
    correct = Counter(label for label, found in pairs if label == found)
    known = {*range(len(names)), *samples, *(found for found in predicted if found is not None)}
    rows = tuple(
        ClassRow(
            label=label,
            name=names[label] if label < len(names) else str(label),
            samples=samples[label],
            correct=correct[label],
            predicted=predicted[label],
        )
        for label in sorted(known)[:CLASSES_MAX]
    )
    return rows, len(known) - len(rows)
