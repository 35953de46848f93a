"""What became of the events of the payload log. No value of a request is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, Metric


class Outcome(StrEnum):
    """The value of the label `outcome`."""

    SENT = "Sent"
    """The sink answered with a status of success."""
    QUEUE_FULL = "QueueFull"
    """Dropped: too many events, or bytes of them, waited for the sink."""
    TOO_LARGE = "TooLarge"
    """Dropped: without any values the event is still larger than it may be."""
    UNKNOWN_NAME = "UnknownName"
    """Dropped: the model has no input or output of a name that is to be redacted."""
    STOPPED = "Stopped"
    """Dropped: it waited when the log was changed, turned off, or the replica stopped."""
    NOT_ALLOWED = "NotAllowed"
    """Failed: the platform does not allow the sink's host or address."""
    UNREACHABLE = "Unreachable"
    """Failed: no connection, no trust in its certificate, or a connection that broke."""
    TIMED_OUT = "TimedOut"
    """Failed: no answer within the time that an event has."""
    REFUSED = "Refused"
    """Failed: the sink answered with another status, such as a redirect or an error."""
    INTERNAL = "Internal"
    """Failed: the event could not be made; the replica's log says why."""


class PayloadCounters:
    """Written by the server's loop and by the threads of senders: an earlier one may still send its last event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_on = False
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Count events that ended so."""
        with self._lock:
            self.outcomes[outcome] += count

    def collect(self, labels: Mapping[str, str]) -> Iterator[Metric]:
        """The counts as a family of Prometheus, without a series before the log is on for the first time."""
        events = CounterMetricFamily(
            "fairlead_replica_payload_events",
            "Events of the payload log, where spec.monitoring asks for it, by what became of them.",
            labels=[*labels, "outcome"],
        )
        if self.is_on:
            for outcome, count in self.outcomes.items():
                events.add_metric([*labels.values(), outcome.value], count)
        yield events
