"""Where the time of one request went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Phase(NamedTuple):
    """A part of a request's time, by the clock of `time.perf_counter`."""

    name: str
    begun_s: float
    ended_s: float


@dataclass(slots=True)
class Timing:
    """Written by the thread that calls the model: `called_s` as the call begins, `call_s` before its result is there.

    Not frozen: making one is on the hot path.
    """

    called_s: float = 0.0
    """When that call began, by the clock of `time.perf_counter`; 0 before."""
    call_s: float = 0.0
    """Seconds of the call of the model that gave the outputs, which other requests may have shared."""
