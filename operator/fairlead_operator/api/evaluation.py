"""What a person writes in ``spec.rollout.requireEvaluation``: how good a candidate has to be on labelled data."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import number


class EvaluationMetric(StrEnum):
    """The metric of an evaluation record. Source: docs/evaluation.md."""

    ACCURACY = "Accuracy"


class RequireEvaluation(ApiModel):
    """What the evaluation record of a candidate must show."""

    metric: EvaluationMetric
    """The metric of the evaluation record: Accuracy, the share of right predictions."""
    # With a bound of 1 no number of samples would do.
    min: Annotated[float, number(0.01, 0.9999)]
    """The minimum of the lower bound of the metric's 95 % confidence interval, from 0.01 to 0.9999. With few samples,
    this bound is far below the value.
    """
