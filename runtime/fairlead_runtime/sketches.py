"""Counts of what requests hold, by bins that the model's reference statistics give. No value of a request is kept."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

NOT_FINITE, OTHER, NOTHING = "NotFinite", "Other", "Nothing"
"""The last bin of numbers (NaN and infinities), that of classes (those that the reference doesn't list), and that of
shares (rows in which no part decides).
"""


class Counted(Protocol):
    """What is shown at a scrape: rows, or shares of rows, by bin."""

    @property
    def feature(self) -> str: ...
    @property
    def bins(self) -> Sequence[str]: ...
    @property
    def counts(self) -> Sequence[float]: ...
    @property
    def reference(self) -> Sequence[float]: ...


class Sketch:
    """Rows by the bin of one feature: in the reference data, and so far in this process.

    Written on the server's loop, read at a scrape. ``bins`` are the values of the label ``bin``.
    """

    __slots__ = ("_place", "bins", "counts", "feature", "reference")

    def __init__(
        self, feature: str, bins: Sequence[str], reference: Sequence[int], place: Callable[[float], int]
    ) -> None:
        self.feature = feature
        self.bins = tuple(bins)
        self.reference = tuple(reference)
        self.counts = [0] * len(self.bins)
        self._place = place

    def add(self, value: float) -> None:
        """Count one row with this value of the feature."""
        self.counts[self._place(value)] += 1


class ShareSketch:
    """Rows by the part that decides: each row adds its share of each part, all together 1.

    Written on the server's loop, read at a scrape. The last bin is that of rows in which no part decides.
    """

    __slots__ = ("bins", "counts", "feature", "reference")

    def __init__(self, feature: str, reference: Sequence[float]) -> None:
        """`reference` has the sum of the shares of each part, and last that of the rows in which none decides."""
        self.feature = feature
        self.bins = (*(f"{index:02}" for index in range(len(reference) - 1)), NOTHING)
        self.reference = tuple(reference)
        self.counts = [0.0] * len(self.bins)

    def add(self, shares: Sequence[float]) -> None:
        """Count one row with these shares, in the order of the bins."""
        for index, share in enumerate(shares):
            self.counts[index] += share


def of_numbers(feature: str, edges: Sequence[float], reference: Sequence[int] | None = None) -> Sketch:
    """Bins ``(-inf, e0], (e0, e1], … (en, inf)`` and one for what isn't finite; ``edges`` grow."""
    last = len(edges) + 1

    def place(value: float) -> int:
        return bisect_left(edges, value) if math.isfinite(value) else last

    # Two digits, so that the bins of a table or a legend are in their order.
    bins = (*(f"{index:02}" for index in range(last)), NOT_FINITE)
    return Sketch(feature, bins, reference or (0,) * len(bins), place)


def of_classes(feature: str, classes: Sequence[int], reference: Sequence[int] | None = None) -> Sketch:
    """A bin for each of the classes and one for all others."""
    places: Mapping[float, int] = {each: index for index, each in enumerate(classes)}
    bins = (*map(str, classes), OTHER)
    return Sketch(feature, bins, reference or (0,) * len(bins), lambda value: places.get(value, len(places)))


def collect(labels: Mapping[str, str], sketches: Sequence[Counted]) -> Iterator[Metric]:
    """The counts as Prometheus' families, each bin a series, so that those of several replicas add up."""
    names, values = [*labels, "feature", "bin"], [*labels.values()]
    rows = CounterMetricFamily(
        "fairlead_replica_sampled_rows", "Rows of answered requests that were sampled, by bin.", labels=names
    )
    reference = GaugeMetricFamily(
        "fairlead_replica_reference_rows", "Rows of the model's reference statistics, by bin.", labels=names
    )
    for sketch in sketches:
        for name, count, known in zip(sketch.bins, tuple(sketch.counts), sketch.reference, strict=True):
            rows.add_metric([*values, sketch.feature, name], count)
            reference.add_metric([*values, sketch.feature, name], known)
    yield rows
    yield reference
