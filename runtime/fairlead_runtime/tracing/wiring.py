"""The parts of tracing, put together for one replica."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from fairlead_runtime.config import Environment
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.tracing import tracer
from fairlead_spans import exporter, trust
from fairlead_spans.counters import SpanCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """`record` is called on the server's loop for each answer, `close` at the end, on any thread."""

    record: Callable[[Request, Response, float], None]
    close: Callable[[], None]


def start(environment: Environment, names: tracer.Names, counted: SpanCounters) -> Tracing:
    """Starts the thread that sends; raises LoadError where the certificates for the collector can't be read."""
    endpoint = environment.traces_endpoint
    files = {"FAIRLEAD_CA_FILE": environment.ca_file, "FAIRLEAD_TRACES_CA_FILE": environment.traces_ca_file}
    given = {setting: path for setting, path in files.items() if path is not None}
    settings = exporter.Settings(
        endpoint=endpoint,
        resource=names.describe(),
        trust=functools.partial(trust.build, given) if endpoint.startswith("https:") else None,
    )
    try:
        sender = exporter.Exporter(settings, counted)
    except ValueError as error:
        raise LoadError(LoadReason.CONFIG_INVALID, str(error)) from None
    recorder = tracer.Tracer(names, environment.traces_sample_percent / 100, sender.offer)
    return Tracing(record=recorder.record, close=sender.close)
