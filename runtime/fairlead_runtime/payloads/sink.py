"""Where events go, and how one that could not be delivered is counted."""

from __future__ import annotations

from typing import Protocol

from fairlead_runtime.payload_counters import Outcome


class SinkError(Exception):
    """An event was not delivered; the sentence is for the replica's log and holds nothing of the event."""

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome = outcome


class Sink(Protocol):
    """Takes events, one after the other, on the sender's thread."""

    def send(self, event: bytes) -> None:
        """Deliver one event; raises SinkError."""
