"""What the operator remembers and reports of a revision's evaluation record. What the record is: docs/evaluation.md."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field, with_config

from fairlead_operator.api.model import MEMORY, is_empty
from fairlead_operator.api.text import Message

METRIC_MAX = 64
SAMPLES_MAX = 10_000_000

Ratio = Annotated[float, Field(ge=0, le=1)]


class EvaluationOutcome(StrEnum):
    """What a replica found beside its model."""

    READ = "Read"
    ABSENT = "Absent"
    OTHER_MODEL = "OtherModel"
    UNREADABLE = "Unreadable"


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The evaluation record of a model, as a replica read it."""

    outcome: EvaluationOutcome
    """Read: the record is of this model. Absent: there is no file `evaluation.json` beside the model. OtherModel: the
    record is of a model with another digest. Unreadable: the file is not a valid record.
    """
    metric: Annotated[str, Field(max_length=METRIC_MAX)] | None = None
    """The metric, such as Accuracy. Absent unless the outcome is Read."""
    value: Ratio | None = None
    """The value of the metric on the samples (0 to 1). Absent unless the outcome is Read."""
    low: Ratio | None = None
    """The lower bound of the 95 % confidence interval of the value. Absent unless the outcome is Read."""
    high: Ratio | None = None
    """The upper bound of the 95 % confidence interval of the value. Absent unless the outcome is Read."""
    samples: Annotated[int, Field(ge=1, le=SAMPLES_MAX)] | None = None
    """The number of samples. Absent unless the outcome is Read."""
    message: Annotated[Message, Field(exclude_if=is_empty)] = ""
    """The reason why there is no valid record. Absent if the outcome is Read."""

    def describe(self) -> str:
        """The figure with its interval, or why there is none; without a full stop."""
        if self.value is None or self.low is None or self.high is None:
            return f"no valid record: {self.message}" if self.message else "no valid record"
        interval = f"95 %: {self.low:.4f} to {self.high:.4f}, {self.samples} samples"
        return f"{self.metric} {self.value:.4f} ({interval})"
