"""The gateway's metrics: its own, and the requests of each revision as the client saw them."""

import bisect
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import prometheus_client
from prometheus_client import core, registry
from typing_extensions import override

from fairlead_gateway import access_metrics, measurements

_BUCKETS_US = tuple(round(bound * 1e6) for bound in measurements.BUCKETS_S)

HOLD_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds for the time until a replica is ready."""

Key = tuple[str, str]
"""Model and revision; empty where a request reached none."""


class InternalKind(enum.StrEnum):
    """Requests that are counted apart from predictions for clients; the value is the metric's name."""

    SHADOW_COPY = "fairlead_gateway_shadow_copies"
    FEEDBACK = "fairlead_gateway_feedback_requests"
    PROOF = "fairlead_gateway_proofs"
    EXPLANATION = "fairlead_gateway_explanations"
    METADATA = "fairlead_gateway_metadata_requests"
    OWN = "fairlead_gateway_own_requests"


class HoldEnd(enum.StrEnum):
    """How the wait of a held request ended; `left` is one of a client that left, and `refused` ones never waited."""

    RELEASED = "released"
    LEFT = "left"
    TIMEOUT = "timeout"
    REFUSED = "refused"


_ASIDE_HELP = {
    InternalKind.SHADOW_COPY: "Copies of a stable revision's requests, answered by its candidate.",
    InternalKind.FEEDBACK: "Feedback requests with true labels, by the revision that received them.",
    InternalKind.PROOF: "Proofs that the operator requested from a revision.",
    InternalKind.EXPLANATION: "Requests of clients for explanations.",
    InternalKind.METADATA: "Requests for a model's metadata, readiness, configuration or statistics.",
    InternalKind.OWN: "Requests to the gateway itself: for its health, metadata or index of models, and reflection.",
}


EMPTY_ANSWER = ("502", "SH")
"""Code and termination state of a request to which the last replica that had it closed the connection unanswered."""


class Requests(registry.Collector):
    """Counts requests by model and revision: plain dictionaries, turned into metric families only when scraped."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str, str], int] = {}
        self._errors: dict[tuple[str, str, str], int] = {}
        self._buckets: dict[Key, list[int]] = {}
        self._sums_us: dict[Key, int] = {}
        self._bytes: dict[Key, list[int]] = {}
        self._retries: dict[Key, int] = {}
        self._empty: dict[Key, int] = {}
        self._internal: dict[InternalKind, dict[tuple[str, str, str], int]] = {kind: {} for kind in InternalKind}

    def add_internal(self, kind: InternalKind, key: Key, code: str) -> None:
        """Count one request that is no client's request of a prediction."""
        labels = (*key, code)
        self._internal[kind][labels] = self._internal[kind].get(labels, 0) + 1

    def add(self, key: Key, code: str, termination: str, duration_us: int) -> None:
        """Count one request. `termination` is HAProxy's termination state, `--` when nothing went wrong."""
        model, revision = key
        labels = (model, revision, code)
        self._codes[labels] = self._codes.get(labels, 0) + 1
        if termination != "--":
            errors = (model, revision, termination)
            self._errors[errors] = self._errors.get(errors, 0) + 1
        if (code, termination) == EMPTY_ANSWER:
            self._empty[key] = self._empty.get(key, 0) + 1
        if revision:
            buckets = self._buckets.get(key)
            if buckets is None:
                buckets = self._buckets[key] = [0] * (len(_BUCKETS_US) + 1)
                self._sums_us[key] = 0
            buckets[bisect.bisect_left(_BUCKETS_US, duration_us)] += 1
            self._sums_us[key] += duration_us

    def add_traffic(self, key: Key, *, received: int, sent: int, retries: int) -> None:
        """Add a request's bytes and how often it was sent again."""
        total = self._bytes.setdefault(key, [0, 0])
        total[0] += received
        total[1] += sent
        if retries:
            self._retries[key] = self._retries.get(key, 0) + retries

    def forget(self, known: Iterable[Key]) -> None:
        """Drop the series of revisions that are gone, so that they don't grow with every rollout."""
        keep = {*known, ("", "")}
        keep.update({(model, "") for model, _ in keep})
        for triples in (self._codes, self._errors, *self._internal.values()):
            for labels in [labels for labels in triples if labels[:2] not in keep]:
                del triples[labels]
        for key in [key for key in self._buckets if key not in keep]:
            del self._buckets[key], self._sums_us[key]
        series: tuple[dict[Key, Any], ...] = (self._bytes, self._retries, self._empty)
        for pairs in series:
            for key in [key for key in pairs if key not in keep]:
                del pairs[key]

    def keys(self) -> set[Key]:
        """The revisions that have series."""
        return {labels[:2] for counted in (self._codes, *self._internal.values()) for labels in counted}

    @override
    def collect(self) -> Iterator[core.Metric]:
        names = ["model", "revision"]
        text = "Predictions answered, and requests that reached no model."
        yield _counter("fairlead_gateway_requests", text, [*names, "code"], self._codes)
        text = "Predictions that did not end normally, by HAProxy's termination state."
        yield _counter("fairlead_gateway_request_errors", text, [*names, "termination"], self._errors)
        for kind, counted in self._internal.items():
            yield _counter(kind.value, _ASIDE_HELP[kind], [*names, "code"], counted)
        yield self._durations()
        yield from self._traffic()

    def _durations(self) -> core.Metric:
        family = core.HistogramMetricFamily(
            "fairlead_gateway_request_duration_seconds",
            "Time from the complete request to the complete answer.",
            labels=["model", "revision"],
        )
        for key, counts in self._buckets.items():
            cumulated, buckets = 0, []
            for bound, count in zip((*(str(bound) for bound in measurements.BUCKETS_S), "+Inf"), counts, strict=True):
                cumulated += count
                buckets.append((bound, cumulated))
            family.add_metric(key, buckets, self._sums_us[key] / 1e6)
        return family

    def _traffic(self) -> Iterator[core.Metric]:
        names = ["model", "revision"]
        received = core.CounterMetricFamily("fairlead_gateway_received_bytes", "Request bytes.", labels=names)
        sent = core.CounterMetricFamily("fairlead_gateway_sent_bytes", "Answer bytes.", labels=names)
        for key, (received_bytes, sent_bytes) in self._bytes.items():
            received.add_metric(key, received_bytes)
            sent.add_metric(key, sent_bytes)
        yield from (received, sent)
        yield _counter("fairlead_gateway_retries", "Times a request was repeated at a replica.", names, self._retries)
        text = "Connections that a replica closed without an answer; a request that was repeated can count twice."
        yield _counter("fairlead_gateway_empty_answers", text, names, self._empty)


def _counter(name: str, text: str, labels: Sequence[str], counted: Mapping[Any, int]) -> core.Metric:
    """A counter with a series for each key, which holds the values of the labels."""
    family = core.CounterMetricFamily(name, text, labels=labels)
    for values, count in counted.items():
        family.add_metric(values, count)
    return family


class StableUp(registry.Collector):
    """Replicas of each model's stable revision that take requests; one series for each route."""

    def __init__(self) -> None:
        self.counts: Mapping[str, int] = {}

    @override
    def collect(self) -> Iterator[core.Metric]:
        family = core.GaugeMetricFamily(
            "fairlead_gateway_stable_up_replicas",
            "Replicas of the model's stable revision that take requests.",
            labels=["model"],
        )
        for model, count in self.counts.items():
            family.add_metric([model], count)
        yield family


class Holds(registry.Collector):
    """Requests of models that may have no replica: those that wait for one, and how long the others waited."""

    def __init__(self) -> None:
        self.waiting: Mapping[str, int] = {}
        self._ends: dict[tuple[str, HoldEnd], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._sums_ms: dict[str, int] = {}

    def add(self, model: str, end: HoldEnd, held_ms: int) -> None:
        """Count one request whose wait ended."""
        self._ends[model, end] = self._ends.get((model, end), 0) + 1
        if end is HoldEnd.RELEASED:
            buckets = self._buckets.setdefault(model, [0] * (len(HOLD_BUCKETS_S) + 1))
            buckets[bisect.bisect_left(HOLD_BUCKETS_S, held_ms / 1000)] += 1
            self._sums_ms[model] = self._sums_ms.get(model, 0) + held_ms

    def follow(self, models: Iterable[str]) -> None:
        """Drop the series of all other models."""
        keep = set(models)
        for key in [key for key in self._ends if key[0] not in keep]:
            del self._ends[key]
        for model in self._buckets.keys() - keep:
            del self._buckets[model], self._sums_ms[model]

    @override
    def collect(self) -> Iterator[core.Metric]:
        waiting = core.GaugeMetricFamily(
            "fairlead_gateway_held_requests", "Held requests without an answer yet.", labels=["model"]
        )
        for model, count in self.waiting.items():
            waiting.add_metric([model], count)
        yield waiting
        ends = core.CounterMetricFamily(
            "fairlead_gateway_held_requests_ended",
            "Requests that found no replica, by how their wait ended.",
            labels=["model", "end"],
        )
        for (model, end), count in self._ends.items():
            ends.add_metric([model, end.value], count)
        yield ends
        durations = core.HistogramMetricFamily(
            "fairlead_gateway_hold_duration_seconds",
            "Time until a held request was sent to a replica.",
            labels=["model"],
        )
        for model, counts in self._buckets.items():
            cumulated, buckets = 0, []
            for bound, count in zip((*(str(bound) for bound in HOLD_BUCKETS_S), "+Inf"), counts, strict=True):
                cumulated += count
                buckets.append((bound, cumulated))
            durations.add_metric([model], buckets, self._sums_ms[model] / 1000)
        yield durations


class Metrics:
    """Everything on `/metrics`, in a registry of its own, and what `/v1/measurements` shows."""

    def __init__(self) -> None:
        self.measured = measurements.Store()
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.holds = Holds()
        self.registry.register(self.holds)
        prefix = "fairlead_gateway_"
        self._starts = prometheus_client.Counter(
            prefix + "haproxy_starts", "Times HAProxy was started by this agent.", registry=self.registry
        )
        self._reloads = prometheus_client.Counter(
            prefix + "haproxy_reloads", "Successful reloads.", registry=self.registry
        )
        self._failures = prometheus_client.Counter(
            prefix + "apply_failures", "Times the routes could not be applied.", registry=self.registry
        )
        self._up = prometheus_client.Gauge(prefix + "haproxy_up", "1 while HAProxy runs.", registry=self.registry)
        self._ready = prometheus_client.Gauge(prefix + "ready", "1 while the gateway is ready.", registry=self.registry)
        self._old_workers = prometheus_client.Gauge(
            prefix + "old_workers", "Replaced workers that still finish requests.", registry=self.registry
        )
        self._dropped_logs = prometheus_client.Gauge(
            prefix + "dropped_log_lines",
            "Requests that the current worker did not log, so that they are missing in the counters.",
            registry=self.registry,
        )
        self._source_errors = prometheus_client.Counter(
            prefix + "source_errors", "Times the routes could not be read.", registry=self.registry
        )
        self._bad_lines = prometheus_client.Counter(
            prefix + "unreadable_log_lines",
            "Lines of the request log that were not understood.",
            registry=self.registry,
        )
        self._unreadable_measurements = prometheus_client.Counter(
            prefix + "unreadable_measurements",
            "Measurements from replicas that were refused as invalid.",
            registry=self.registry,
        )
        self._route_errors = prometheus_client.Gauge(
            prefix + "route_error", "1 for a model whose route was refused.", ["model"], registry=self.registry
        )
        self._stable_up = StableUp()
        self.registry.register(self._stable_up)
        self.api_keys = access_metrics.ApiKeys()
        self.registry.register(self.api_keys)
        self.token_keys = access_metrics.TokenKeys()
        self.registry.register(self.token_keys)
        self.access_log = access_metrics.AccessLog()
        self.registry.register(self.access_log)
        self.spans = access_metrics.Spans()
        self.registry.register(self.spans)
        self._certificate = access_metrics.Certificate()
        self.registry.register(self._certificate)
        self._register_discovery(prefix)

    def _register_discovery(self, prefix: str) -> None:
        self._nodes = prometheus_client.Gauge(
            prefix + "nodes", "Ray nodes by whether their directory can be read.", ["state"], registry=self.registry
        )
        self._node_errors = prometheus_client.Counter(
            prefix + "node_errors", "Times a node's directory could not be read.", registry=self.registry
        )
        self._node_list_errors = prometheus_client.Counter(
            prefix + "node_list_errors", "Times the list of Ray nodes could not be read.", registry=self.registry
        )
        self._refused_endpoints = prometheus_client.Counter(
            prefix + "refused_endpoints",
            "Endpoints of Ray nodes that were invalid and ignored.",
            registry=self.registry,
        )
        self._replicas = prometheus_client.Gauge(
            prefix + "replicas", "Replicas that the nodes list.", registry=self.registry
        )
        self._refused_replicas = prometheus_client.Counter(
            prefix + "refused_replicas",
            "Entries of node directories that were invalid and ignored.",
            registry=self.registry,
        )
        self._server_changes = prometheus_client.Counter(
            prefix + "server_changes", "Commands that added, drained or removed a server.", registry=self.registry
        )
        self._refused_changes = prometheus_client.Counter(
            prefix + "refused_server_changes",
            "Server commands that HAProxy refused, mostly because connections were still open; each is retried.",
            registry=self.registry,
        )

    def count_start(self) -> None:
        self._starts.inc()

    def count_reload(self) -> None:
        self._reloads.inc()

    def count_failure(self) -> None:
        self._failures.inc()

    def count_source_error(self) -> None:
        self._source_errors.inc()

    def count_unreadable_measurements(self) -> None:
        self._unreadable_measurements.inc()

    def count_bad_line(self) -> None:
        self._bad_lines.inc()

    def count_node_error(self) -> None:
        self._node_errors.inc()

    def count_node_list_error(self) -> None:
        self._node_list_errors.inc()

    def count_refused_endpoints(self, count: int) -> None:
        self._refused_endpoints.inc(count)

    def count_refused_replicas(self, count: int) -> None:
        self._refused_replicas.inc(count)

    def count_server_changes(self, count: int, *, refused: int) -> None:
        self._server_changes.inc(count)
        self._refused_changes.inc(refused)

    def set_nodes(self, *, known: int, unknown: int, replicas: int) -> None:
        self._nodes.labels("Known").set(known)
        self._nodes.labels("Unknown").set(unknown)
        self._replicas.set(replicas)

    def set_haproxy(self, *, is_up: bool, old_workers: int, dropped_logs: int) -> None:
        self._up.set(is_up)
        self._old_workers.set(old_workers)
        self._dropped_logs.set(dropped_logs)

    def set_certificate(self, *, expires_at: float | None, is_refused: bool) -> None:
        """`expires_at` is in seconds since 1970."""
        self._certificate.expires_at = expires_at
        self._certificate.is_refused = is_refused

    def set_stable_up(self, counts: Mapping[str, int]) -> None:
        self._stable_up.counts = counts

    def set_ready(self, *, is_ready: bool) -> None:
        self._ready.set(is_ready)

    def set_route_errors(self, models: Iterable[str]) -> None:
        self._route_errors.clear()
        for model in models:
            self._route_errors.labels(model).set(1)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)
