"""What became of the spans that a program recorded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpanCounters:
    """`dropped` is written on the thread that records, the others on the thread that sends."""

    sent: int = 0
    refused: int = 0
    """Those that the collector answered not to have taken."""
    failed: int = 0
    """Those that could not be sent."""
    dropped: int = 0
    """Those that found the queue full."""
