"""What a replica counts. Plain numbers while requests pass; they become Prometheus' text only when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """Counts per bucket and the sum; not cumulative until shown."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        total = 0
        shown: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            shown.append((bound, float(total)))
        return shown, self._sum


class ReplicaMetrics(Collector):
    """The counters of one replica. Written on the server's loop and the inference thread, read at a scrape."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self.requests: dict[tuple[str, int], int] = {}
        self.latency = Histogram(LATENCY_BUCKETS_S)
        self.batch_rows = Histogram(ROWS_BUCKETS)
        self.rejected = 0
        self.pending = 0
        self.connections = 0
        self.phases_s: dict[str, float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, protocol: str, code: int, duration_s: float) -> None:
        key = (protocol, code)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.latency.observe(duration_s)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    @override
    def collect(self) -> Iterator[Metric]:
        names, values = list(self._labels), list(self._labels.values())
        requests = CounterMetricFamily(
            "fairlead_replica_requests", "Requests answered.", labels=[*names, "protocol", "code"]
        )
        for (protocol, code), count in list(self.requests.items()):
            requests.add_metric([*values, protocol, str(code)], count)
        yield requests
        yield self._histogram(
            "fairlead_replica_request_duration_seconds", "From the whole request to its answer.", self.latency
        )
        yield self._histogram("fairlead_replica_batch_rows", "Rows in one call of the model.", self.batch_rows)
        rejected = CounterMetricFamily(
            "fairlead_replica_rejected", "Predictions refused because the queue was full.", labels=names
        )
        rejected.add_metric(values, self.rejected)
        yield rejected
        yield self._gauge("fairlead_replica_pending_requests", "Predictions running or queued.", self.pending)
        yield self._gauge("fairlead_replica_connections", "Open client connections.", self.connections)
        load = GaugeMetricFamily(
            "fairlead_replica_start_seconds", "How long each phase of the start took.", labels=[*names, "phase"]
        )
        for phase, duration_s in self.phases_s.items():
            load.add_metric([*values, phase], duration_s)
        yield load

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        buckets, total = histogram.buckets()
        family.add_metric(list(self._labels.values()), buckets, total)
        return family
