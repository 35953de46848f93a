"""Port ranges on a Ray cluster: a revision's replicas bind the first free port of its range."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    first: int
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def overlaps(self, other: PortRange) -> bool:
        return self.first <= other.last and other.first <= self.last

    @override
    def __str__(self) -> str:
        return f"{self.first}-{self.last}"
