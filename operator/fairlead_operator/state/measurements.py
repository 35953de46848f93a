"""What gateways counted of each revision, and the sums of one step made from their growing counters."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from fairlead_operator.api.counts import GATEWAYS_MAX, Counters, Mark, Scale, Sums


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
class Readings:
    """What one pass read of the Ready gateways' counters; ``unread`` says why by the name of the gateway."""

    read: tuple[GatewayReading, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfSums:
    """What some of the gateways counted: ``judged`` now, and ``kept``, to which the others are added later.

    What replicas count is the same at every gateway. It is judged as one of these gateways read it, and kept as the
    first of all gateways reads it, so that nothing is added twice.
    """

    judged: Sums
    kept: Sums


def add(sums: Sums, readings: tuple[GatewayReading, ...], *, stable: str, candidate: str) -> Sums | None:
    """The sums with what the gateways counted since their marks; None where their histograms don't fit together.

    Counters that bear no mark, those of a gateway or a life of it that wasn't seen before, are marked and add nothing:
    what they hold may be older than the step. Requests are added over gateways; shadow pairs, feedback and scores are
    the same replicas' as every gateway read them, so the first gateway by name is taken at its word. Gateways beyond
    the number of marks that the status holds are left out.
    """
    by_name = sorted(readings, key=lambda r: r.gateway)
    counted = by_name[:GATEWAYS_MAX]
    added = sums
    for number, reading in enumerate(counted):
        scale = added.scale.joined(reading.scale)
        if scale is None:
            return None
        now = _mark(reading, stable, candidate)
        mine, other = _grown(_find_mark(sums, now), now)
        if number:
            mine, other = mine.of_clients(), other.of_clients()
        added = Sums(
            stable=added.stable.plus(other),
            candidate=added.candidate.plus(mine),
            scale=scale,
            marks=(*_without(added.marks, now), now),
        )
    there = {reading.gateway for reading in counted}
    marks = tuple(mark for mark in added.marks if mark.gateway in there)
    return replace(added, marks=marks, uncounted_gateways=len(by_name) - len(counted))


def add_part(
    sums: Sums, readings: tuple[GatewayReading, ...], left_out: Set[str], *, stable: str, candidate: str
) -> PartOfSums | None:
    """The same with the readings of some gateways. The marks of those ``left_out`` stay until these can be counted."""
    judged = add(sums, readings, stable=stable, candidate=candidate)
    if judged is None:
        return None
    counted = sorted(readings, key=lambda r: r.gateway)[:GATEWAYS_MAX]
    uncounted = len(readings) - len(counted) + len(left_out)
    kept = replace(sums, scale=judged.scale)
    marks: list[Mark] = []
    for reading in counted:
        now = _mark(reading, stable, candidate)
        mark = _find_mark(sums, now)
        mine, other = (grown.of_clients() for grown in _grown(mark, now))
        kept = replace(kept, stable=kept.stable.plus(other), candidate=kept.candidate.plus(mine))
        marks.append(_of_clients_since(mark, now) if mark is not None else now)
    waiting = [mark for mark in sums.marks if mark.gateway in left_out]
    kept = replace(kept, marks=(*marks, *waiting)[:GATEWAYS_MAX], uncounted_gateways=uncounted)
    return PartOfSums(judged=replace(judged, uncounted_gateways=uncounted), kept=kept)


def _mark(reading: GatewayReading, stable: str, candidate: str) -> Mark:
    return Mark(
        gateway=reading.gateway,
        epoch=reading.epoch,
        stable=reading.counters_of(stable),
        candidate=reading.counters_of(candidate),
    )


def _find_mark(sums: Sums, now: Mark) -> Mark | None:
    """The mark that the counters have grown from; None where they are others than those that were marked."""
    mark = next((mark for mark in sums.marks if (mark.gateway, mark.epoch) == (now.gateway, now.epoch)), None)
    if mark is None or now.candidate.is_behind(mark.candidate) or now.stable.is_behind(mark.stable):
        return None
    return mark


def _grown(mark: Mark | None, now: Mark) -> tuple[Counters, Counters]:
    """The candidate's and the stable revision's growth since the mark."""
    if mark is None:
        return Counters(), Counters()
    return now.candidate.since(mark.candidate), now.stable.since(mark.stable)


def _of_clients_since(mark: Mark, now: Mark) -> Mark:
    """The mark moved on in what is counted of requests alone."""
    return replace(
        now,
        stable=now.stable.with_replicas_of(mark.stable),
        candidate=now.candidate.with_replicas_of(mark.candidate),
    )


def _without(marks: tuple[Mark, ...], now: Mark) -> tuple[Mark, ...]:
    return tuple(mark for mark in marks if mark.gateway != now.gateway)
