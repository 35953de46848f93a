"""What gateways counted of each revision, and the sums of one step made from their growing counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counts of one revision; ``durations`` and ``scores`` are histograms over the scale that comes with them.

    ``pairs`` are shadowed requests, ``disagreed`` those with another answer or none; ``labelled`` those with feedback.
    """

    requests: int = 0
    server_errors: int = 0
    client_errors: int = 0
    pairs: int = 0
    disagreed: int = 0
    labelled: int = 0
    correct: int = 0
    durations: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()

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

    def as_baseline(self) -> Counters:
        """What a revision that takes its place is still held to: nothing that follows the load, the hour or clients."""
        return Counters(
            requests=self.requests, server_errors=self.server_errors, labelled=self.labelled, correct=self.correct
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
class GatewayReading:
    """One gateway's counters of a model; they only grow within an ``epoch``."""

    gateway: str
    epoch: str
    scale: Scale
    revisions: Mapping[str, Counters]

    def counters_of(self, revision: str) -> Counters:
        return self.revisions.get(revision, Counters())


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a gateway's counters stood when they were last added."""

    gateway: str
    epoch: str
    stable: Counters
    candidate: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What was counted since a step began.

    The marks make adding idempotent: a reading counts once, also when a pass is repeated.
    """

    stable: Counters = field(default_factory=Counters)
    candidate: Counters = field(default_factory=Counters)
    scale: Scale = field(default_factory=Scale)
    marks: tuple[Mark, ...] = ()


def add(sums: Sums, readings: tuple[GatewayReading, ...], *, stable: str, candidate: str) -> Sums | None:
    """The sums with what the gateways counted since their marks; None where their histograms don't fit together.

    Counters that bear no mark, those of a gateway or a life of it that wasn't seen before, are marked and add nothing:
    what they hold may be older than the step. Requests are added over gateways; shadow pairs, feedback and scores are
    the same replicas' as every gateway read them, so the first gateway by name is taken at its word.
    """
    added = sums
    for number, reading in enumerate(sorted(readings, key=lambda r: r.gateway)):
        scale = added.scale.joined(reading.scale)
        if scale is None:
            return None
        now = Mark(
            gateway=reading.gateway,
            epoch=reading.epoch,
            stable=reading.counters_of(stable),
            candidate=reading.counters_of(candidate),
        )
        mine, other = _grown(sums.marks, now)
        if number:
            mine, other = mine.of_clients(), other.of_clients()
        others = tuple(mark for mark in added.marks if mark.gateway != now.gateway)
        added = Sums(
            stable=added.stable.plus(other),
            candidate=added.candidate.plus(mine),
            scale=scale,
            marks=(*others, now),
        )
    there = {reading.gateway for reading in readings}
    return replace(added, marks=tuple(mark for mark in added.marks if mark.gateway in there))


def _grown(marks: tuple[Mark, ...], now: Mark) -> tuple[Counters, Counters]:
    """The candidate's and the stable revision's growth since the mark."""
    mark = next((mark for mark in marks if (mark.gateway, mark.epoch) == (now.gateway, now.epoch)), None)
    if mark is None or now.candidate.is_behind(mark.candidate) or now.stable.is_behind(mark.stable):
        return Counters(), Counters()
    return now.candidate.since(mark.candidate), now.stable.since(mark.stable)
