"""What gateways counted of each revision, and the sums of one step made from their growing counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    there = {reading.gateway for reading in counted}
    marks = tuple(mark for mark in added.marks if mark.gateway in there)
    return replace(added, marks=marks, uncounted_gateways=len(by_name) - len(counted))


def _grown(marks: tuple[Mark, ...], now: Mark) -> tuple[Counters, Counters]:
    """The candidate's and the stable revision's growth since the mark."""
    mark = next((mark for mark in marks if (mark.gateway, mark.epoch) == (now.gateway, now.epoch)), None)
    if mark is None or now.candidate.is_behind(mark.candidate) or now.stable.is_behind(mark.stable):
        return Counters(), Counters()
    return now.candidate.since(mark.candidate), now.stable.since(mark.stable)
