"""Whether this gateway sends spans: a gateway without tracing has nothing of it in memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fairlead_gateway import metrics, settings
from fairlead_spans.counters import SpanCounters

if TYPE_CHECKING:
    from fairlead_gateway.spans import Recorder

_log = logging.getLogger(__name__)


def start(settings_: settings.Settings, metrics_: metrics.Metrics, *, version: str) -> Recorder | None:
    """What takes requests of the log; None without tracing, and where no span could be sent, which the log says."""
    if settings_.traces is None:
        return None
    try:
        from fairlead_gateway import spans
    except ImportError as error:
        _log.error("serving without spans error=the image lacks opentelemetry-proto (%s)", error)
        return None
    gateway = spans.Gateway(
        namespace=settings_.namespace,
        name=settings_.gateway_id,
        version=version,
        is_tls=settings_.tls is not None,
    )
    counted = SpanCounters()
    try:
        made = spans.Recorder(settings_.traces, gateway, counted)
    except ValueError as error:
        _log.error("serving without spans error=%s", error)
        return None
    metrics_.spans.counted = counted
    return made
