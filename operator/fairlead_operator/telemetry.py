"""The operator's metrics and log lines; made once in ``cli`` and handed down."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

import prometheus_client
from typing_extensions import override

from fairlead_operator import model_metrics, rollout_metrics

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "settings",
    "k8s_ref",
    "k8s_skip",
}


class Metrics:
    """Every metric of the operator, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.reconciles = self._counter("reconcile", "Passes over a key, by how they ended", "kind", "outcome")
        self.reconcile_s = self._histogram("reconcile_duration_seconds", "Duration of a pass", "kind")
        self.actions = self._counter("actions", "Writes to the world, by kind", "action", "outcome")
        self.queue_depth = self._gauge("queue_depth", "Keys that wait to be taken")
        self.kubernetes_requests = self._counter("kubernetes_requests", "Requests to the API server", "verb", "code")
        self.kubernetes_s = self._histogram("kubernetes_request_duration_seconds", "Duration of a request", "verb")
        self.ray_requests = self._counter("ray_requests", "Requests to Ray", "verb", "code")
        self.ray_s = self._histogram("ray_request_duration_seconds", "Duration of a request", "verb")
        self.prometheus_requests = self._counter("prometheus_requests", "Requests to a Prometheus", "verb", "code")
        self.gateway_requests = self._counter("gateway_requests", "Requests to gateways", "verb", "code")
        self.watch_events = self._counter("watch_events", "Events that the watches delivered", "resource")
        self.watch_starts = self._gauge("watch_starts", "How often watches were started; as many as namespaces is well")
        self.models = model_metrics.ModelMetrics()
        self.rollouts = rollout_metrics.RolloutMetrics(self.registry)
        self.queue_wait_s = self._histogram("queue_wait_seconds", "How long a key waited for a worker")
        self.waiting = self._gauge("waiting_keys", "Keys that wait for a change or a date")
        self.events_waiting = self._gauge("waiting_events", "Events that wait to be sent")
        self.ray_put_at = self._gauge(
            "ray_put_timestamp_seconds", "When Ray last accepted a Serve config", "namespace", "cluster"
        )
        self.dropped_fields = self._counter("dropped_status_writes", "Status writes that lost a field")
        self.crd_missing = self._gauge("crd_missing_fields", "Fields of this version that the API server's CRD lacks")
        self.lease_held = self._gauge("lease_held", "1 while this process may write")
        self.lease_transitions = self._gauge(
            "lease_transitions", "How often the Lease passed to another process, as the Lease itself says"
        )
        self.loop_lag_s = self._gauge("loop_lag_seconds", "How late the event loop was, last")
        self.resync_s = self._gauge("resync_duration_seconds", "Duration of the last full listing")

    def exposition(self) -> bytes:
        """What a Prometheus scrapes, in its text format."""
        return prometheus_client.generate_latest(self.registry) + self.models.exposition()

    def on_kubernetes_request(self, verb: str, code: str, seconds: float) -> None:
        self.kubernetes_requests.labels(verb, code).inc()
        self.kubernetes_s.labels(verb).observe(seconds)

    def on_ray_request(self, verb: str, code: str, seconds: float) -> None:
        self.ray_requests.labels(verb, code).inc()
        self.ray_s.labels(verb).observe(seconds)

    def on_prometheus_request(self, verb: str, code: str, _seconds: float) -> None:
        self.prometheus_requests.labels(verb, code).inc()

    def on_gateway_request(self, verb: str, code: str, _seconds: float) -> None:
        self.gateway_requests.labels(verb, code).inc()

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"fairlead_operator_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(f"fairlead_operator_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(f"fairlead_operator_{name}", text, labels, registry=self.registry)


class _Formatter(logging.Formatter):
    """One line a record: time, level, sentence, then the record's own fields."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "logger": record.name,
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps(fields, default=str)
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(text: str) -> str:
    return json.dumps(text) if any(letter in text for letter in ' "=\n') or not text else text


def configure_logging(*, as_json: bool, level: str, stream: TextIO | None = None) -> None:
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
