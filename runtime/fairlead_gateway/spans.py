"""The gateway's span of each request that has one, out of the request log. Imported only where tracing is on.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

import functools
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead_gateway import access_log, settings, trace_field
from fairlead_spans import exporter, trust
from fairlead_spans.counters import SpanCounters
from fairlead_spans.span import AnsweredRequest, Value

NAME = "gateway"
_PROOF = "P"
"""What the operator asks has no span, as in a replica."""

_REFUSED_CALL_PREFIX = "/rpc/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Whose spans they are."""

    namespace: str
    name: str
    version: str
    is_tls: bool
    """Whether clients of the data port use TLS."""


class Recorder:
    """Sends spans by a thread of its own; what that can't send in time is dropped and counted."""

    def __init__(self, chosen: settings.Traces, gateway: Gateway, counted: SpanCounters) -> None:
        """Raises ValueError where the certificates for the collector can't be read."""
        self._gateway = gateway
        files = {} if chosen.ca_file is None else {"--traces-ca-file": chosen.ca_file}
        settings_ = exporter.Settings(
            endpoint=chosen.endpoint,
            resource={
                "service.name": "fairlead-gateway",
                "service.namespace": gateway.namespace,
                "service.version": gateway.version,
                "service.instance.id": gateway.name,
            },
            trust=functools.partial(trust.build, files) if chosen.endpoint.startswith("https:") else None,
        )
        self._exporter = exporter.Exporter(settings_, counted)

    def record(self, request: access_log.Request) -> None:
        """Queue the span of a request, if it has one.

        Raises:
            ValueError: HAProxy's line has another form.
        """
        traced = trace_field.parse(request.traced)
        if traced is None or request.kind == _PROOF:
            return
        # The timers are in milliseconds, cut off. A worker that a reload replaced may have held the request before.
        lasted_us = max(traced.active_ms * 1000, request.duration_us + (traced.held_ms or 0) * 1000)
        self._exporter.offer(
            AnsweredRequest(
                name=NAME,
                attributes=dict(self._describe(request, traced)),
                status=int(request.code),
                parent=traced.parent,
                own=traced.own,
                state="",
                arrived_s=0.0,
                ended_s=lasted_us / 1e6,
                ended_ns=traced.ended_us * 1000,
            )
        )

    def close(self) -> None:
        """Send what waits, within a moment."""
        self._exporter.close()

    def _describe(self, request: access_log.Request, traced: trace_field.Traced) -> Iterator[tuple[str, Value]]:
        described = access_log.describe(request)
        is_secure = self._gateway.is_tls and not described.is_internal
        yield "http.request.method", described.method
        yield "http.response.status_code", int(request.code)
        yield "http.request.size", request.received_bytes
        yield "http.response.size", request.sent_bytes
        yield "url.scheme", "https" if is_secure else "http"
        yield "url.path", described.path
        yield "client.address", described.address
        yield from _describe_host(traced.host)
        if described.is_call:
            yield "rpc.system.name", "grpc"
            if not described.path.startswith(_REFUSED_CALL_PREFIX):
                yield "rpc.method", described.path.removeprefix("/")
        if request.code >= "500":
            yield "error.type", request.code
        yield "fairlead.namespace", self._gateway.namespace
        for name, value in (("model", request.model), ("revision", request.revision)):
            if value:
                yield f"fairlead.{name}", value
        if described.request_id is not None:
            yield "fairlead.request_id", described.request_id
        yield "fairlead.kind", access_log.KINDS[request.kind]
        yield "fairlead.retries", request.retries
        yield "fairlead.termination", request.termination
        yield "fairlead.answered_by", "replica" if traced.has_replicas_answer else "gateway"
        if traced.held_ms is not None:
            yield "fairlead.held_milliseconds", traced.held_ms
        for name, value_ms in traced.timers_ms.items():
            yield f"fairlead.{name}_milliseconds", value_ms


def _describe_host(host: str) -> Iterator[tuple[str, Value]]:
    """The name that the client knows the gateway by; nothing where its header is no host."""
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return
    if name:
        yield "server.address", name
        if port is not None:
            yield "server.port", port
