"""What a replica counts. Plain numbers on the hot path; the Prometheus text is made only when it is requested."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from fairlead_runtime import sketches
from fairlead_runtime.analysis_counters import SCORE_BOUNDS, AnalysisCounters
from fairlead_runtime.attribution_counters import AttributionCounters
from fairlead_runtime.guard_counters import Guard, Rows
from fairlead_runtime.payload_counters import PayloadCounters
from fairlead_runtime.sketches import Sketch
from fairlead_spans.counters import SpanCounters

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXPLANATION_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
EXPLANATION_OUTCOMES = ("answered", "refused", "full", "expired", "abandoned", "failed")
_OF_GATEWAYS = ("health", "measurements")
ROWS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


MODEL_PROTOCOLS = frozenset({"v1", "v2", "v1_grpc", "v2_grpc", "feedback"})
"""What clients ask for. Health checks and scrapes come all the time, and would be most of an idle model's durations."""


class Histogram:
    """Counts per bucket and the sum; not cumulative until shown."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    @property
    def sum(self) -> float:
        """All observed values together."""
        return self._sum

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        return _accumulate(self._bounds, self._counts), self._sum


def _accumulate(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each with what the ones before hold."""
    return list(zip((*map(str, bounds), "+Inf"), map(float, accumulate(counts)), strict=True))


@dataclass(slots=True)
class Predictions:
    """How requests for predictions ended, and where the time of the answered ones went. Written on the loop alone."""

    answered: int = 0
    refused: int = 0
    answered_s: float = 0.0
    refused_s: float = 0.0
    decode_s: float = 0.0
    call_s: float = 0.0
    encode_s: float = 0.0
    last_s: float | None = None
    """When the last one was answered, by the clock of `time.perf_counter`."""

    def add_success(self, now_s: float, whole_s: float, decode_s: float, call_s: float, encode_s: float) -> None:
        """Count a request that was answered `now_s`, `whole_s` after it was there whole."""
        self.answered += 1
        self.answered_s += whole_s
        self.decode_s += decode_s
        self.call_s += call_s
        self.encode_s += encode_s
        self.last_s = now_s

    def add_failure(self, whole_s: float) -> None:
        """Count a request that got no prediction, whatever the reason."""
        self.refused += 1
        self.refused_s += whole_s

    @property
    def wait_s(self) -> float:
        """What answered requests spent neither in their decoding and encoding nor in a call of the model."""
        return max(0.0, self.answered_s - self.decode_s - self.call_s - self.encode_s)


class Explanations:
    """How requests for explanations ended, and how long the answered ones took. Written on the loop alone."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(EXPLANATION_OUTCOMES, 0)
        self.duration = Histogram(EXPLANATION_BUCKETS_S)

    def add(self, outcome: str, whole_s: float = 0.0) -> None:
        """Count a request that ended so, `whole_s` seconds after it was there whole."""
        self.outcomes[outcome] += 1
        if outcome == "answered":
            self.duration.observe(whole_s)


class ReplicaMetrics(Collector):
    """The counters of one replica. Written on the server's loop and the inference thread, read at a scrape."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self.measured = AnalysisCounters()
        self.requests: dict[tuple[str, int], int] = {}
        self.latency = Histogram(LATENCY_BUCKETS_S)
        self.predictions = Predictions()
        self.explanations = Explanations()
        self.batch_rows = Histogram(ROWS_BUCKETS)
        self.rejected = 0
        self.abandoned = 0
        self.feedback_refused: dict[str, int] = {}
        self.feedback_repeated = 0
        self.pending = 0
        self.connections = 0
        self.spans: SpanCounters | None = None
        self.shares_calls = False
        self.engine: tuple[str, str] | None = None
        self.variant: tuple[str, str] | None = None
        self.reference: str | None = None
        self.sketches: Sequence[Sketch] = ()
        self.explained = AttributionCounters()
        self.guarded: Mapping[Guard, Rows] = {}
        self.payloads = PayloadCounters()
        self.phases_s: dict[str, float] = {}
        self.evicted_bytes: Sequence[int] = ()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_answer(self, protocol: str, code: int, duration_s: float) -> None:
        """Count an answer with its HTTP status, and its duration in seconds if it is one of a prediction protocol."""
        key = (protocol, code)
        self.requests[key] = self.requests.get(key, 0) + 1
        if protocol in MODEL_PROTOCOLS:
            self.latency.observe(duration_s)

    def count_predictions(self) -> int:
        """Requests answered so far, without health checks and measurements of the gateways."""
        return sum(count for (protocol, _), count in self.requests.items() if protocol not in _OF_GATEWAYS)

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
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
            "fairlead_replica_request_duration_seconds", "Time from the complete request to the answer.", self.latency
        )
        yield self._histogram("fairlead_replica_batch_rows", "Rows in one call of the model.", self.batch_rows)
        yield from self._collect_predictions()
        yield from self._collect_explanations()
        rejected = CounterMetricFamily(
            "fairlead_replica_rejected", "Predictions refused because the queue was full.", labels=names
        )
        rejected.add_metric(values, self.rejected)
        yield rejected
        abandoned = self._counter("fairlead_replica_abandoned", "Requests whose client went away before the answer.")
        abandoned.add_metric(values, self.abandoned)
        yield abandoned
        yield from self._collect_evicted()
        yield from self._collect_measured()
        yield from self._collect_sketches()
        spans = self._counter("fairlead_replica_spans", "Spans of traced requests, by what became of them.", "outcome")
        if self.spans is not None:
            for outcome in ("sent", "refused", "failed", "dropped"):
                spans.add_metric([*values, outcome], getattr(self.spans, outcome))
        yield spans
        yield from self.payloads.collect(self._labels)
        yield self._gauge("fairlead_replica_pending_requests", "Predictions running or queued.", self.pending)
        yield self._gauge("fairlead_replica_connections", "Open client connections.", self.connections)
        yield self._gauge(
            "fairlead_replica_shares_calls",
            "1 when the warm-up showed that requests can share a call of the model.",
            self.shares_calls,
        )
        engine = GaugeMetricFamily(
            "fairlead_replica_engine", "1 for the engine that calls the model.", labels=[*names, "engine", "reason"]
        )
        if self.engine is not None:
            engine.add_metric([*values, *self.engine], 1)
        yield engine
        variant = GaugeMetricFamily(
            "fairlead_replica_variant",
            "1 for the variant of the model that serves, where spec.optimization asks for one.",
            labels=[*names, "variant", "reason"],
        )
        if self.variant is not None:
            variant.add_metric([*values, *self.variant], 1)
        yield variant
        load = GaugeMetricFamily(
            "fairlead_replica_start_seconds", "How long each phase of the start took.", labels=[*names, "phase"]
        )
        for phase, duration_s in self.phases_s.items():
            load.add_metric([*values, phase], duration_s)
        yield load

    def _collect_predictions(self) -> Iterator[Metric]:
        values, counted = list(self._labels.values()), self.predictions
        ended = self._counter("fairlead_replica_predictions", "Requests for a prediction that ended.", "outcome")
        ended.add_metric([*values, "answered"], counted.answered)
        ended.add_metric([*values, "refused"], counted.refused)
        yield ended
        parts = self._counter(
            "fairlead_replica_prediction_seconds",
            "Where the time of answered predictions went: waiting, decoding, the call of the model, encoding.",
            "part",
        )
        for part in ("wait", "decode", "call", "encode"):
            parts.add_metric([*values, part], getattr(counted, f"{part}_s"))
        yield parts

    def _collect_explanations(self) -> Iterator[Metric]:
        ended = self._counter("fairlead_replica_explanations", "Requests for an explanation that ended.", "outcome")
        for outcome, count in self.explanations.outcomes.items():
            ended.add_metric([*self._labels.values(), outcome], count)
        yield ended
        yield self._histogram(
            "fairlead_replica_explanation_duration_seconds",
            "Time from the complete request for an explanation to its answer, with the wait for others.",
            self.explanations.duration,
        )

    def _collect_evicted(self) -> Iterator[Metric]:
        models = self._counter(
            "fairlead_replica_cache_evicted_models", "Models that this replica removed from the cache to make room."
        )
        models.add_metric(list(self._labels.values()), len(self.evicted_bytes))
        yield models
        size = self._counter("fairlead_replica_cache_evicted_bytes", "Bytes that the removed models took on disk.")
        size.add_metric(list(self._labels.values()), sum(self.evicted_bytes))
        yield size

    def _collect_measured(self) -> Iterator[Metric]:
        shadow = self._counter(
            "fairlead_replica_shadow_pairs", "Copies of requests sent to a candidate.", "candidate", "outcome"
        )
        for candidate, pairs in list(self.measured.shadow.items()):
            counts = {"agreed": pairs.pairs - pairs.disagreed, **pairs.body()}
            for outcome in ("agreed", "disagreed", "failed", "dropped"):
                shadow.add_metric([*self._labels.values(), candidate, outcome], counts[outcome])
        yield shadow
        labels = self._counter(
            "fairlead_replica_feedback", "Predictions for which a true label was received.", "predicted_by", "outcome"
        )
        for revision, labels_seen in list(self.measured.feedback.items()):
            labels.add_metric([*self._labels.values(), revision, "correct"], labels_seen.correct)
            labels.add_metric([*self._labels.values(), revision, "wrong"], labels_seen.labelled - labels_seen.correct)
        yield labels
        refused = self._counter("fairlead_replica_feedback_refused", "Feedback that was refused.", "kind")
        for kind, count in list(self.feedback_refused.items()):
            refused.add_metric([*self._labels.values(), kind], count)
        yield refused
        repeated = self._counter("fairlead_replica_feedback_repeated", "Feedback whose token had been counted before.")
        repeated.add_metric(list(self._labels.values()), self.feedback_repeated)
        yield repeated
        scores = HistogramMetricFamily(
            "fairlead_replica_top_score", "Highest score of each of an answer's first rows.", labels=list(self._labels)
        )
        scores.add_metric(list(self._labels.values()), _accumulate(SCORE_BOUNDS, self.measured.scores), None)
        yield scores

    def _collect_sketches(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(
            "fairlead_replica_reference",
            "1 for what became of the reference statistics beside the model.",
            labels=[*self._labels, "outcome"],
        )
        if self.reference is not None:
            found.add_metric([*self._labels.values(), self.reference], 1)
        yield found
        attributions = self.explained.sketch
        shown: Sequence[sketches.Counted] = self.sketches if attributions is None else [*self.sketches, attributions]
        yield from sketches.collect(self._labels, shown)
        yield from self.explained.collect(self._labels)
        guarded = self._counter(
            "fairlead_replica_guarded_rows", "Rows that guards judged, by what became of them.", "guard", "outcome"
        )
        tolerated = GaugeMetricFamily(
            "fairlead_replica_guard_tolerated_share",
            "Share of the rows that a guard finds, at most, where they are like the training data.",
            labels=[*self._labels, "guard"],
        )
        for guard, rows in self.guarded.items():
            tolerated.add_metric([*self._labels.values(), guard.value], rows.tolerated_share)
            for outcome in ("passed", "observed", "rejected"):
                guarded.add_metric([*self._labels.values(), guard.value, outcome], getattr(rows, outcome))
        yield guarded
        yield tolerated

    def _counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(name, text, labels=[*self._labels, *labels])

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        buckets, total = histogram.buckets()
        family.add_metric(list(self._labels.values()), buckets, total)
        return family
