"""One answered request as it is recorded: what its spans are made of later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead_spans.trace_context import SpanContext

Value = str | int | bool


class Part(Protocol):
    """A part of a request's time, which has a span of its own below that of the request."""

    @property
    def name(self) -> str: ...

    @property
    def begun_s(self) -> float: ...

    @property
    def ended_s(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRequest:
    """Its times are of one clock that counts seconds, the last one also of the wall clock."""

    name: str
    attributes: Mapping[str, Value]
    status: int
    parent: SpanContext | None
    own: SpanContext | None = None
    """The request's own span, where its ID was passed on before; without it an ID is made."""
    state: str
    arrived_s: float
    ended_s: float
    ended_ns: int
    phases: Sequence[Part] = ()

    @property
    def spans(self) -> int:
        """How many spans are made of it."""
        return 1 + len(self.phases)
