"""What guards look for, and how many rows each has judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Guard(StrEnum):
    """What is looked for; the value of the label `guard`."""

    NOT_FINITE = "NotFinite"
    RANGE = "Range"
    SIZE = "Size"
    OUTLIER = "Outlier"
    PERTURBATION = "Perturbation"
    IMPOSSIBLE_ANSWER = "ImpossibleAnswer"
    SCORE = "Score"


@dataclass(slots=True)
class Rows:
    """Rows that one guard has judged. Written on the server's loop.

    `tolerated_share` of them at most are found where requests are like the training data.
    """

    tolerated_share: float
    passed: int = 0
    observed: int = 0
    rejected: int = 0
