"""What clients send while a candidate is analysed, in parts that depend on nothing but what was measured before.

The first part comes once the operator has marked where the counters stand, the next once the status has the whole of
the part before. So the sums are the same in every run, whatever fails, or something was lost or counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairlead_gateway.measurements import Counted

if TYPE_CHECKING:
    from tests.faults.bench import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What each of the two revisions gets; the candidate alone fails or disagrees."""

    requests: int = 0
    failed: int = 0
    pairs: int = 0
    disagreed: int = 0


class Clients:
    """Of one run; looks at the status whenever the bench does."""

    def __init__(self, *parts: Part, step: int) -> None:
        """They send during this step alone."""
        self._left = list(parts)
        self._step = step
        self._candidate = Counted()
        self._stable = Counted()

    def look(self, bench: Bench) -> None:
        status = bench.status()
        rollout: dict[str, Any] = status.get("rollout") or {}
        analysis: dict[str, Any] = rollout.get("analysis") or {}
        if not self._left or rollout.get("step") != self._step or not analysis.get("marks"):
            return
        seen = analysis.get("candidate") or {}
        if (seen.get("requests", 0), seen.get("pairs", 0)) == (self._candidate.total, self._candidate.shadow["pairs"]):
            self._send(self._left.pop(0))
            bench.gateway.measurements = {
                status["stableRevision"]: self._stable.body(),
                status["candidateRevision"]: self._candidate.body(),
            }

    def _send(self, part: Part) -> None:
        for counted in (self._stable, self._candidate):
            counted.total += part.requests
            counted.durations[0] += part.requests
        self._candidate.server_errors += part.failed
        self._candidate.shadow["pairs"] += part.pairs
        self._candidate.shadow["disagreed"] += part.disagreed
