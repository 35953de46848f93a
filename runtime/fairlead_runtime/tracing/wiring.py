"""The parts of tracing, put together for one replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead_runtime.config import Environment
from fairlead_runtime.model import http_fetch
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.span_counters import SpanCounters
from fairlead_runtime.tracing import exporter, tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """`record` is called on the server's loop for each answer, `close` at the end, on any thread."""

    record: Callable[[Request, Response, float], None]
    close: Callable[[], None]


def start(environment: Environment, names: tracer.Names, counted: SpanCounters) -> Tracing:
    """Starts the thread that sends; raises LoadError where the certificates for the collector can't be read."""
    endpoint = environment.traces_endpoint
    tls = http_fetch.trust(environment.ca_file) if endpoint.startswith("https:") else None
    settings = exporter.Settings(endpoint=endpoint, names=names, tls=tls)
    sender = exporter.Exporter(settings, counted)
    recorder = tracer.Tracer(names, environment.traces_sample_percent / 100, sender.offer)
    return Tracing(record=recorder.record, close=sender.close)
