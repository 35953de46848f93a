"""What was measured of a setting: a block of requests in each round, at the rate of one of so many replicas."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead_cli.tuning.settings import Load, Setting

KEPT_UP = 0.95
"""A replica that answered a smaller part of what came in the time did not keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: `offered` and `answered` a second, `p99_s` None where nothing was answered, processor time of it."""

    offered: float
    answered: float
    requests: int
    failed: int
    p50_s: float | None
    p99_s: float | None
    cpu_s_per_request: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median over the rounds, the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A setting with one number of replicas: a block in each round."""

    setting: Setting
    replicas: int
    blocks: Sequence[Block]

    @property
    def offered(self) -> float:
        """Requests a second at one replica."""
        return self.blocks[0].offered

    @property
    def p99(self) -> Spread | None:
        """None where nothing was answered in some round."""
        return _spread([each.p99_s for each in self.blocks])

    @property
    def p50(self) -> Spread | None:
        return _spread([each.p50_s for each in self.blocks])

    @property
    def answered(self) -> float:
        return statistics.median(each.answered for each in self.blocks)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.blocks)

    @property
    def cores(self) -> float:
        """That a replica used."""
        return statistics.median(each.cpu_s_per_request * each.answered for each in self.blocks)

    def rounds_met(self, load: Load) -> int:
        """In how many rounds every request was answered, in time and within the target."""
        return sum(_meets(each, load) for each in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All points of a setting, by the number of replicas, and the most memory that its process had resident."""

    setting: Setting
    points: Mapping[int, Point]
    memory_bytes: int


def _meets(block: Block, load: Load) -> bool:
    is_quick = block.p99_s is not None and block.p99_s <= load.latency_max_s
    return is_quick and block.failed == 0 and block.answered >= KEPT_UP * block.offered


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Spread(median=statistics.median(known), least=min(known), most=max(known))
