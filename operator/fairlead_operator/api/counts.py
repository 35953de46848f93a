"""What was counted of a revision: by one gateway, and since a step began."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field, with_config

from fairlead_operator.api.model import MEMORY

GATEWAYS_MAX = 16
"""An analysis counts requests at so many gateways: each has a mark of up to 3 kB in the status."""
BUCKETS_MAX = 65
AMOUNT_MAX = 9e15

Counter = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Buckets = Annotated[tuple[Counter, ...], Field(max_length=BUCKETS_MAX)]
Bounds = Annotated[tuple[Amount, ...], Field(max_length=BUCKETS_MAX)]


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counters of one revision."""

    requests: Counter = 0
    """The number of requests."""
    server_errors: Counter = 0
    """The number of requests that failed with 5xx."""
    client_errors: Counter = 0
    """The number of requests that were answered with 4xx."""
    pairs: Counter = 0
    """The number of requests that were copied to the candidate."""
    disagreed: Counter = 0
    """The number of copied requests that the candidate answered differently or not at all."""
    labelled: Counter = 0
    """The number of predictions with a true label from feedback."""
    correct: Counter = 0
    """The number of predictions that match their true label."""
    durations: Buckets = ()
    """The number of requests in each bucket of `durationBoundsSeconds`; the last bucket is above all bounds."""
    scores: Buckets = ()
    """The number of predictions in each bucket of `scoreBounds`; the last bucket is above all bounds."""

    def plus(self, other: Counters) -> Counters:
        return self._with(other, 1)

    def since(self, mark: Counters) -> Counters:
        return self._with(mark, -1)

    def is_behind(self, mark: Counters) -> bool:
        """Whether any count is less than it was: these are not the counters that were marked."""
        grown = self.since(mark)
        errors = (grown.server_errors, grown.client_errors)
        others = (grown.pairs, grown.disagreed, grown.labelled, grown.correct)
        return min(grown.requests, *errors, *others, *grown.durations, *grown.scores) < 0

    def of_clients(self) -> Counters:
        """What is counted of requests alone: the rest is the same on every gateway."""
        return Counters(
            requests=self.requests,
            server_errors=self.server_errors,
            client_errors=self.client_errors,
            durations=self.durations,
        )

    def with_replicas_of(self, other: Counters) -> Counters:
        """These counts of requests beside the rest of ``other``, which replicas count."""
        return replace(
            other,
            requests=self.requests,
            server_errors=self.server_errors,
            client_errors=self.client_errors,
            durations=self.durations,
        )

    def _with(self, other: Counters, sign: int) -> Counters:
        return Counters(
            requests=self.requests + sign * other.requests,
            server_errors=self.server_errors + sign * other.server_errors,
            client_errors=self.client_errors + sign * other.client_errors,
            pairs=self.pairs + sign * other.pairs,
            disagreed=self.disagreed + sign * other.disagreed,
            labelled=self.labelled + sign * other.labelled,
            correct=self.correct + sign * other.correct,
            durations=_each(self.durations, other.durations, sign),
            scores=_each(self.scores, other.scores, sign),
        )


def _each(one: tuple[int, ...], other: tuple[int, ...], sign: int) -> tuple[int, ...]:
    """A histogram that is not there yet is all zeros."""
    size = max(len(one), len(other))
    padded = (counts + (0,) * (size - len(counts)) for counts in (one, other))
    return tuple(a + sign * b for a, b in zip(*padded, strict=True))


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The counters of the previous stable revision in the completed steps of the rollout."""

    requests: Counter = 0
    """The number of requests."""
    server_errors: Counter = 0
    """The number of requests that failed with 5xx."""
    labelled: Counter = 0
    """The number of predictions with a true label from feedback."""
    correct: Counter = 0
    """The number of predictions that match their true label."""

    def plus(self, counted: Counters) -> Baseline:
        """With what a promoted revision is still held to: nothing that follows the load, the hour or clients."""
        return Baseline(
            requests=self.requests + counted.requests,
            server_errors=self.server_errors + counted.server_errors,
            labelled=self.labelled + counted.labelled,
            correct=self.correct + counted.correct,
        )


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The counters of one gateway at the last measurement, from which later readings are counted."""

    gateway: Annotated[str, Field(max_length=253)]
    """The name of the gateway."""
    epoch: Annotated[str, Field(max_length=64)]
    """The ID of the process of the gateway's agent. If it changes, the counters start at zero."""
    stable: Counters
    """The counters of the stable revision."""
    candidate: Counters
    """The counters of the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The bounds of the histograms; empty where nothing has one yet."""

    durations_s: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    def joined(self, other: Scale) -> Scale | None:
        """One scale for both; None where they differ."""
        durations_s = self.durations_s or other.durations_s
        scores = self.scores or other.scores
        if other.durations_s not in ((), durations_s) or other.scores not in ((), scores):
            return None
        return Scale(durations_s=durations_s, scores=scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What was counted since a step began.

    The marks make adding idempotent: a reading counts once, also when a pass is repeated.
    """

    stable: Counters = field(default_factory=Counters)
    candidate: Counters = field(default_factory=Counters)
    scale: Scale = field(default_factory=Scale)
    marks: tuple[Mark, ...] = ()
    uncounted_gateways: int = 0
