"""The worker pods of a Ray cluster: what one of them holds, how many there may be, and which have no node yet."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from fairlead_operator.state.capacity import NodeRoom, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What the workers of a serving class can hold, each of them ``size``; a Ray cluster has at most ``most``."""

    class_name: str
    size: Size
    most: int

    def each_holds(self, replica: Size) -> int:
        """How many replicas of a size, or stages of them, an empty worker has room for."""
        return NodeRoom(cpu_cores=self.size.cpu_cores, memory_bytes=self.size.memory_bytes).holds(replica)

    def all_hold(self, replica: Size) -> int:
        """How many whole replicas of a size all workers have room for."""
        return self.most * self.each_holds(replica) // replica.stages


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPods:
    """The workers that a RayCluster asks for (``wanted``, at most ``most``), and those of them that don't run yet.

    ``starting`` have a node. ``unscheduled`` have none, the first of them since ``unscheduled_since``, by the
    scheduler's ``reason``.
    """

    wanted: int
    most: int
    starting: int = 0
    unscheduled: int = 0
    unscheduled_since: datetime.datetime | None = None
    reason: str = ""

    @property
    def may_grow(self) -> bool:
        """Whether a worker is on its way, or may still be asked for."""
        return self.wanted < self.most or self.starting + self.unscheduled > 0

    def describe(self) -> str:
        """What replicas without room wait for, as the part of a sentence."""
        if self.unscheduled:
            since = f" since {self.unscheduled_since:%Y-%m-%dT%H:%M:%SZ}" if self.unscheduled_since is not None else ""
            reason = f": {self.reason}" if self.reason else ""
            return f"{_count(self.unscheduled)} can't be scheduled{since}{reason}"
        if self.starting:
            return f"{_count(self.starting)} {'starts' if self.starting == 1 else 'start'}"
        if self.wanted >= self.most:
            return f"the Ray cluster has its maximum of {_count(self.most)}"
        return f"Ray has asked for {_count(self.wanted)} so far"


def _count(pods: int) -> str:
    return "1 worker pod" if pods == 1 else f"{pods} worker pods"
