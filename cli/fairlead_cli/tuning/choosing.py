"""Which setting is recommended for a load, and why. Pure: measured figures in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_cli.tuning.figures import Measured, Point
from fairlead_cli.tuning.settings import Load, Setting

CPU_MARGIN = 1.25
MEMORY_MARGIN = 1.25
"""A reservation is so much more than what was used."""

CPU_STEP, MEMORY_STEP = 0.1, 64 * 2**20
CPU_MIN, MEMORY_MIN = 0.1, 256 * 2**20
DEFAULT = (64, 0)
"""Rows and delay of a model that sets neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A setting with so many replicas, and what each replica reserves."""

    setting: Setting
    replicas: int
    cpu: float
    memory_bytes: int
    point: Point

    @property
    def cores(self) -> float:
        """That all replicas reserve together."""
        return self.replicas * self.cpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    proposal: Proposal
    reason: str


def recommend(measured: Sequence[Measured], load: Load) -> Recommendation | None:
    """The proposal that reserves the fewest cores of those that meet the target in every round; None if none does.

    Of equal ones: those whose p99 is not higher than the lowest beyond what it differs by between rounds, and of these
    the one nearest to what a model has that sets nothing.
    """
    found = [_propose(each, point) for each in measured for point in each.points.values() if _meets_always(point, load)]
    if not found:
        return None
    fewest = min(each.cores for each in found)
    equal = [each for each in found if each.cores <= fewest + 1e-9]
    best = min(equal, key=_p99)
    alike = [each for each in equal if _least(each) <= _most(best)]
    chosen = min(alike, key=_plainness)
    return Recommendation(proposal=chosen, reason=_reason(chosen, found, equal, alike))


def nearest(measured: Sequence[Measured], load: Load) -> Point | None:
    """The point that met the target in most rounds, and of these the one with the lowest p99."""
    points = [point for each in measured for point in each.points.values() if point.p99 is not None]
    return min(points, key=lambda each: (-each.rounds_met(load), each.p99.most if each.p99 else 0), default=None)


def _meets_always(point: Point, load: Load) -> bool:
    return point.rounds_met(load) == len(point.blocks)


def _propose(measured: Measured, point: Point) -> Proposal:
    threads = measured.setting.threads
    # The whole cores of a reservation are the threads: less than two is one thread.
    least, most = (CPU_MIN, 1.9) if threads == 1 else (float(threads), threads + 0.9)
    used = math.ceil(point.cores * CPU_MARGIN / CPU_STEP - 1e-9) * CPU_STEP
    memory = math.ceil(measured.memory_bytes * MEMORY_MARGIN / MEMORY_STEP) * MEMORY_STEP
    return Proposal(
        setting=measured.setting,
        replicas=point.replicas,
        cpu=round(min(max(used, least), most), 1),
        memory_bytes=max(memory, MEMORY_MIN),
        point=point,
    )


def _p99(proposal: Proposal) -> float:
    return proposal.point.p99.median if proposal.point.p99 is not None else math.inf


def _least(proposal: Proposal) -> float:
    return proposal.point.p99.least if proposal.point.p99 is not None else math.inf


def _most(proposal: Proposal) -> float:
    return proposal.point.p99.most if proposal.point.p99 is not None else math.inf


def _plainness(proposal: Proposal) -> tuple[bool, int, int, float]:
    setting = proposal.setting
    return ((setting.rows, setting.delay_ms) != DEFAULT, setting.threads, proposal.replicas, _p99(proposal))


def _reason(chosen: Proposal, found: Sequence[Proposal], equal: Sequence[Proposal], alike: Sequence[Proposal]) -> str:
    if len(found) == 1:
        return "it is the only one that meets the target in every round"
    total = f"of {len(found)} that meet the target in every round it reserves the fewest cores ({chosen.cores:.1f})"
    if len(equal) == 1:
        return total
    if len(alike) == 1:
        return f"{total}, and of {len(equal)} that reserve as many it has the lowest p99"
    return (
        f"{total}; {len(alike)} that reserve as many do not differ in p99 by more than the rounds do, and it is the "
        "nearest of them to the defaults"
    )
