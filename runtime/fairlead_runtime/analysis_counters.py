"""What a replica counts for an analysis of its revision: plain counters since the process started.

Source: docs/contracts.md, "Gateway → replica".
"""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

SCORE_BOUNDS = (
    -100.0, -10.0, -5.0, -2.0, -1.0, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7,
    0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0,
)  # fmt: skip
"""Fine where probabilities are, coarse for logits and other numbers. The same for every revision, to be comparable."""

REVISIONS_MAX = 64
"""Revisions that are remembered; the one that was met first is forgotten for another."""


@dataclass(slots=True)
class Pairs:
    """Copies sent to one candidate: compared, of these different, without a usable answer, never sent."""

    pairs: int = 0
    disagreed: int = 0
    failed: int = 0
    dropped: int = 0

    def body(self) -> dict[str, int]:
        return {"pairs": self.pairs, "disagreed": self.disagreed, "failed": self.failed, "dropped": self.dropped}


@dataclass(slots=True)
class Labels:
    """Predictions of one revision that got a true label, and how many of them were correct."""

    labelled: int = 0
    correct: int = 0

    def body(self) -> dict[str, int]:
        return {"labelled": self.labelled, "correct": self.correct}


C = TypeVar("C", Pairs, Labels)


class AnalysisCounters:
    """The counters of one process, from its start. Only the server's loop writes them."""

    def __init__(self) -> None:
        self.instance = secrets.token_hex(8)
        self._started_s = time.monotonic()
        self.shadow: dict[str, Pairs] = {}
        self.feedback: dict[str, Labels] = {}
        self.scores = [0] * (len(SCORE_BOUNDS) + 1)

    def pairs(self, candidate: str) -> Pairs:
        """The counters of the copies for this candidate; made at first use, at most `REVISIONS_MAX` of them."""
        return _get_or_add(self.shadow, candidate, Pairs)

    def labels(self, revision: str) -> Labels:
        """The counters of true labels for this revision; made at first use, at most `REVISIONS_MAX` of them."""
        return _get_or_add(self.feedback, revision, Labels)

    def add_scores(self, scores: Iterable[float]) -> None:
        """Count each score in the first bucket of `SCORE_BOUNDS` that holds it; NaN is left out."""
        for score in scores:
            # NaN is on no side of any bound.
            if score == score:
                self.scores[bisect_left(SCORE_BOUNDS, score)] += 1

    def body(self) -> dict[str, object]:
        """The body of `GET /-/measurements/NAME`. Source: docs/contracts.md, "Measurements"."""
        return {
            "instance": self.instance,
            "ageSeconds": round(time.monotonic() - self._started_s, 3),
            "shadow": {name: pairs.body() for name, pairs in self.shadow.items()},
            "feedback": {name: labels.body() for name, labels in self.feedback.items()},
            "scores": {"bounds": SCORE_BOUNDS, "counts": self.scores},
        }


def _get_or_add(known: dict[str, C], revision: str, make: type[C]) -> C:
    found = known.get(revision)
    if found is None:
        if len(known) >= REVISIONS_MAX:
            del known[next(iter(known))]
        found = known[revision] = make()
    return found
