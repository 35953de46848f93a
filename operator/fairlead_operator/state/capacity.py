"""What is free on a Ray cluster, and whether replicas of one size fit in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_operator.api.spec import Resources
from fairlead_operator.state.serve import ApplicationView

CPU = "CPU"
MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one replica asks of Ray's scheduler: of a model in stages, each of the ``stages`` asks for this."""

    cpu_cores: float
    memory_bytes: int
    stages: int = 1

    @classmethod
    def from_resources(cls, resources: Resources, *, stages: int = 1) -> Size:
        return cls(cpu_cores=resources.cpu_cores, memory_bytes=resources.memory_bytes, stages=stages)


def describe_missing(view: ApplicationView | None, size: Size, missing: int, *, workers: str = "") -> str:
    """What the replicas that don't run yet wait for, as the part of a sentence.

    ``workers`` is the part that says what they have room for on: empty where nothing is known of the worker pods.
    """
    waiting = min(missing, view.waiting_replicas) if view is not None else 0
    if view is None or view.waiting_since is None or waiting == 0:
        return f"{missing} {'starts' if missing == 1 else 'start'}"
    room = f"{size.cpu_cores:g} CPU and {size.memory_bytes / 2**20:g} MiB each"
    since = f"since {view.waiting_since:%Y-%m-%dT%H:%M:%SZ}"
    words = f"{waiting} {'waits' if waiting == 1 else 'wait'} for placement on the Ray cluster ({room}) {since}"
    others = missing - waiting
    if others > 0:
        words = f"{words}, {others} {'starts' if others == 1 else 'start'}"
    return f"{words}; {workers}" if workers else words


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """What is free on one node, by the logical resources that Ray's scheduler counts."""

    cpu_cores: float
    memory_bytes: float

    def holds(self, size: Size) -> int:
        """So many stages, or replicas of one, at once; a millionth is allowed for, as Ray counts in floating point."""
        by_cpu = (self.cpu_cores + 1e-6) / size.cpu_cores
        return int(min(by_cpu, self.memory_bytes / size.memory_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The free room of a cluster that nobody enlarges by itself, by node."""

    nodes: Mapping[str, NodeRoom]

    def fitting(self, size: Size) -> int:
        """How many replicas of one size fit: exact, as all stages are of the same size and none spans two nodes."""
        return sum(max(0, node.holds(size)) for node in self.nodes.values()) // size.stages
