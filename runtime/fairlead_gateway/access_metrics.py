"""Metrics of who may send what and of what is said of it: certificate, API keys, keys of tokens, access log, spans."""

from collections.abc import Iterator

from prometheus_client import core, registry
from typing_extensions import override

from fairlead_spans.counters import SpanCounters


class Certificate(registry.Collector):
    """The certificate of the data port; no series where clients use no TLS."""

    def __init__(self) -> None:
        self.expires_at: float | None = None
        self.is_refused: bool | None = None

    @override
    def collect(self) -> Iterator[core.Metric]:
        expires = core.GaugeMetricFamily(
            "fairlead_gateway_certificate_expiration_timestamp_seconds",
            "End of the validity of the certificate that clients get, in seconds since 1970.",
            labels=[],
        )
        if self.expires_at is not None:
            expires.add_metric([], self.expires_at)
        yield expires
        refused = core.GaugeMetricFamily(
            "fairlead_gateway_certificate_refused",
            "1 while the files of the certificate cannot be used, so that clients get the one before.",
            labels=[],
        )
        if self.is_refused is not None:
            refused.add_metric([], self.is_refused)
        yield refused


class ApiKeys(registry.Collector):
    """The API keys of clients; no series where clients need none."""

    def __init__(self) -> None:
        self.clients: int | None = None
        self.refused = 0

    @override
    def collect(self) -> Iterator[core.Metric]:
        clients = core.GaugeMetricFamily("fairlead_gateway_api_key_clients", "Clients that have an API key.", labels=[])
        refused = core.GaugeMetricFamily(
            "fairlead_gateway_refused_api_keys",
            "Entries of the Secret with API keys that are not used; the log has the reasons.",
            labels=[],
        )
        if self.clients is not None:
            clients.add_metric([], self.clients)
            refused.add_metric([], self.refused)
        yield clients
        yield refused


class TokenKeys(registry.Collector):
    """The keys that sign the tokens of clients; no series where clients send none."""

    def __init__(self) -> None:
        self.keys: int | None = None
        self.refused = 0
        self.is_refused = False

    @override
    def collect(self) -> Iterator[core.Metric]:
        keys = core.GaugeMetricFamily("fairlead_gateway_token_keys", "Keys that tokens are checked by.", labels=[])
        refused = core.GaugeMetricFamily(
            "fairlead_gateway_refused_token_keys",
            "Keys of the JSON Web Key Set that are not used; the log has the reasons.",
            labels=[],
        )
        unreadable = core.GaugeMetricFamily(
            "fairlead_gateway_jwks_refused",
            "1 while the JSON Web Key Set cannot be used, so that tokens are checked by the one before.",
            labels=[],
        )
        if self.keys is not None:
            keys.add_metric([], self.keys)
            refused.add_metric([], self.refused)
            unreadable.add_metric([], self.is_refused)
        yield keys
        yield refused
        yield unreadable


class AccessLog(registry.Collector):
    """The access log; no series where there is none."""

    def __init__(self) -> None:
        self.dropped: int | None = None

    @override
    def collect(self) -> Iterator[core.Metric]:
        dropped = core.CounterMetricFamily(
            "fairlead_gateway_dropped_access_log_lines",
            "Lines of the access log that were dropped, as standard output was not read in time.",
            labels=[],
        )
        if self.dropped is not None:
            dropped.add_metric([], self.dropped)
        yield dropped


class Spans(registry.Collector):
    """What became of the spans; no series where there are none."""

    def __init__(self) -> None:
        self.counted: SpanCounters | None = None

    @override
    def collect(self) -> Iterator[core.Metric]:
        spans = core.CounterMetricFamily(
            "fairlead_gateway_spans", "Spans of traced requests, by what became of them.", labels=["outcome"]
        )
        if self.counted is not None:
            for outcome in ("sent", "refused", "failed", "dropped"):
                spans.add_metric([outcome], getattr(self.counted, outcome))
        yield spans
