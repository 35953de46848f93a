"""What became of the rows that were due for a sampled explanation. No value of a request is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, Metric

from fairlead_runtime.sketches import ShareSketch


class Outcome(StrEnum):
    """The value of the label `outcome`."""

    COUNTED = "Counted"
    """The row was explained, and its shares were counted."""
    BUSY = "Busy"
    """Dropped: the thread of the explanations was busy, or a request for an explanation came."""
    NOT_EXPLAINED = "NotExplained"
    """Dropped: the row or a score is not finite, or the model does not accept a changed copy of the row."""
    FAILED = "Failed"
    """Dropped: the model failed; the replica's log says why."""
    NO_REFERENCE = "NoReference"
    """Dropped: there are no reference attributions; the replica's log says why."""


class AttributionCounters:
    """Written on the server's loop, read at a scrape."""

    def __init__(self) -> None:
        self.is_on = False
        self.sketch: ShareSketch | None = None
        """The shares of the rows that were counted; None without a reference, and before rows are explained."""
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    def add(self, outcome: Outcome) -> None:
        """Count a row that ended so."""
        self.outcomes[outcome] += 1

    def collect(self, labels: Mapping[str, str]) -> Iterator[Metric]:
        """The counts as a family of Prometheus, without a series before rows are explained for the first time."""
        rows = CounterMetricFamily(
            "fairlead_replica_explained_rows",
            "Rows that were due for a sampled explanation, where spec.monitoring asks for it, by what became of them.",
            labels=[*labels, "outcome"],
        )
        if self.is_on:
            for outcome, count in self.outcomes.items():
                rows.add_metric([*labels.values(), outcome.value], count)
        yield rows
