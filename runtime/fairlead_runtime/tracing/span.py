"""One answered request as it is recorded, on the server's loop: what its spans are made of later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_runtime.inference.timing import Phase
from fairlead_runtime.tracing.operations import Operation
from fairlead_runtime.tracing.trace_context import Parent

Value = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRequest:
    """Its times are of `time.perf_counter`, the last one also of the wall clock."""

    operation: Operation
    attributes: dict[str, Value]
    status: int
    parent: Parent | None
    state: str
    arrived_s: float
    ended_s: float
    ended_ns: int
    phases: Sequence[Phase]

    @property
    def spans(self) -> int:
        """How many spans are made of it."""
        return 1 + len(self.phases)
