"""Whether the labels of the samples fit the model, so that its accuracy says something."""

from __future__ import annotations

import numpy as np

from fairlead_runtime.inference import tops
from fairlead_runtime.model.predictor import Array
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.optimization.samples import LABELS, NAME


class LabelsDontFitError(Exception):
    """The samples can't judge this model by their labels; the text is a sentence that says what would be right."""


def check_range(signature: Signature, labels: Array) -> None:
    """Raises LabelsDontFitError for labels that no answer of the model can be."""
    largest = int(labels.max())
    count = tops.class_count(signature)
    if count is not None and largest >= count:
        raise LabelsDontFitError(
            f"{NAME}: {LABELS!r} holds {largest}, but the model's scores are of {count} classes, 0 to {count - 1}; "
            f"{LABELS!r} must hold the index of the true class of each row"
        )
    scores = tops.scores_of(signature)
    if scores is not None and scores[1] is tops.Kind.NUMBER and largest > 1:
        raise LabelsDontFitError(
            f"{NAME}: {LABELS!r} holds {largest}, but the model gives one number for each row, which Accuracy reads as "
            f"the score of class 1; {LABELS!r} must hold 0 and 1. A model of quantities (regression) has no accuracy, "
            "so leave spec.optimization out"
        )


def count_most_frequent(labels: Array) -> int:
    """How often a model is right that always answers the most frequent label."""
    return int(np.unique(labels, return_counts=True)[1].max())


def check_accuracy(correct: int, unknown: int, labels: Array) -> None:
    """Raises LabelsDontFitError where the model is right no more often than one that always gives the same answer.

    `unknown` is the number of rows for which its answer is no number.
    """
    values, counts = np.unique(labels, return_counts=True)
    if correct > counts.max():
        return
    lost = f" (its scores are NaN for {unknown})" if unknown else ""
    raise LabelsDontFitError(
        f"the float model is right on {correct} of the {len(labels)} judged samples{lost}, and one that always answers "
        f"{values[counts.argmax()]} would be on {counts.max()}, so its accuracy says nothing: check that the labels "
        "are the indices of the model's own classes and that the inputs are scaled as in training, and take rows "
        "whose classes are about equally frequent"
    )
