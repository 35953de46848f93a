"""What an analysis reads: counters of each revision that only grow while this agent lives.

Source: docs/contracts.md, "Measurements". They are apart from the Prometheus series, which are forgotten sooner.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
SHADOW = ("pairs", "disagreed", "failed", "dropped")
FEEDBACK = ("labelled", "correct")
_BOUNDS_US = tuple(round(bound * 1e6) for bound in BUCKETS_S)
_GONE_KEPT = 64
"""Revisions that left the table, kept for each model: one that comes back goes on counting where it was."""

_ABORTED = "499"
_TIMEOUT = "504"
_CUT_PHASE = "D"
"""The second letter of HAProxy's termination state while an answer's body is sent.

Source: https://docs.haproxy.org/2.8/configuration.html#8.5
"""


@dataclass(slots=True)
class Counted:
    """One revision's counters."""

    total: int = 0
    server_errors: int = 0
    client_errors: int = 0
    aborted: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_US) + 1))
    shadow: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHADOW, 0))
    feedback: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FEEDBACK, 0))
    score_bounds: tuple[float, ...] = ()
    scores: list[int] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """As `/v1/measurements` shows it."""
        return {
            "requests": {
                "total": self.total,
                "serverErrors": self.server_errors,
                "clientErrors": self.client_errors,
                "aborted": self.aborted,
            },
            "durations": {"boundsSeconds": list(BUCKETS_S), "counts": list(self.durations)},
            "shadow": dict(self.shadow),
            "feedback": dict(self.feedback),
            "scores": {"bounds": list(self.score_bounds), "counts": list(self.scores)},
        }


class Store:
    """The counters of every model's revisions."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Counted]] = {}

    def add(self, key: tuple[str, str], code: str, termination: str, duration_us: int) -> None:
        """Count one request that a revision was chosen for.

        Durations are those of predictions. A client that gave up is in them: it waited at least as long, and a slow
        revision would look fast without it; so is a timeout. A refusal or a failure is not: it takes no time at all,
        and a revision that answers nothing would look faster than any that works.
        """
        counted = self.counters_of(*key)
        counted.total += 1
        is_aborted = _is_aborted(code, termination)
        if is_aborted or code < "400" or code == _TIMEOUT:
            counted.durations[bisect.bisect_left(_BOUNDS_US, duration_us)] += 1
        if is_aborted:
            counted.aborted += 1
        elif code >= "500" or termination[1:] == _CUT_PHASE:
            counted.server_errors += 1
        elif code >= "400":
            counted.client_errors += 1

    def add_shadow(self, key: tuple[str, str], grown: Mapping[str, int]) -> None:
        """Add pairs in which this revision was the candidate; one that is in no table is left out, here and below."""
        if (counted := self._known(key)) is not None:
            _add(counted.shadow, grown)

    def add_feedback(self, key: tuple[str, str], grown: Mapping[str, int]) -> None:
        """Add true labels received for predictions of this revision."""
        if (counted := self._known(key)) is not None:
            _add(counted.feedback, grown)

    def add_scores(self, key: tuple[str, str], bounds: tuple[float, ...], grown: Sequence[int]) -> None:
        """Add the top scores of this revision's predictions; other bounds than before are left out."""
        counted = self._known(key)
        if counted is None:
            return
        if not counted.score_bounds:
            counted.score_bounds, counted.scores = bounds, [0] * len(grown)
        if counted.score_bounds == bounds:
            counted.scores = [total + more for total, more in zip(counted.scores, grown, strict=True)]

    def _known(self, key: tuple[str, str]) -> Counted | None:
        return self._models.get(key[0], {}).get(key[1])

    def counters_of(self, model: str, revision: str) -> Counted:
        """The counters of a revision, made when there are none."""
        revisions = self._models.setdefault(model, {})
        counted = revisions.get(revision)
        if counted is None:
            counted = revisions[revision] = Counted()
        return counted

    def follow(self, table: Mapping[str, frozenset[str]]) -> None:
        """Know the table's revisions; drop models that are gone, and of too many revisions that are gone the oldest."""
        for model, names in table.items():
            for name in names:
                self.counters_of(model, name)
        for model in [model for model in self._models if model not in table]:
            del self._models[model]
        for model, revisions in self._models.items():
            gone = [name for name in revisions if name not in table[model]]
            for name in gone[: max(0, len(gone) - _GONE_KEPT)]:
                del revisions[name]


def _add(counts: dict[str, int], grown: Mapping[str, int]) -> None:
    for name in counts:
        counts[name] += grown.get(name, 0)


def _is_aborted(code: str, termination: str) -> bool:
    """Whether the client went away: before an answer, or while its body was sent."""
    return code == _ABORTED or termination[:1] in ("C", "c")
