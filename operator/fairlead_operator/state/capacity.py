"""What is free on a Ray cluster, and whether replicas of one size fit in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CPU = "CPU"
MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one replica asks of Ray's scheduler."""

    cpu_cores: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """What is free on one node, by the logical resources that Ray's scheduler counts."""

    cpu_cores: float
    memory_bytes: float

    def holds(self, size: Size) -> int:
        """So many replicas at once; a millionth is allowed for, as Ray counts in floating point."""
        by_cpu = (self.cpu_cores + 1e-6) / size.cpu_cores
        return int(min(by_cpu, self.memory_bytes / size.memory_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The free room of a cluster that nobody enlarges by itself, by node."""

    nodes: Mapping[str, NodeRoom]

    def fitting(self, size: Size) -> int:
        """How many replicas of one size fit: exact, as all are of the same size and none spans two nodes."""
        return sum(max(0, node.holds(size)) for node in self.nodes.values())
