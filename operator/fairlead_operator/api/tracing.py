"""``spec.tracing`` of a ServingClass: where the spans of requests go, and of how many requests there are any."""

from __future__ import annotations

from typing import Annotated

from fairlead_operator.api.fields import SERVICE_URL
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import number, text

CollectorUrl = Annotated[
    str,
    text(
        SERVICE_URL,
        "must be http://HOST:PORT or https://HOST:PORT, with a port from 1 to 65535 if any and without a user or "
        "password, as in http://collector.monitoring.svc:4318",
        max_length=300,
    ),
]
Percent = Annotated[float, number(0, 100)]


class Tracing(ApiModel):
    """The OpenTelemetry collector that replicas send spans to, and the share of requests that have spans."""

    endpoint: CollectorUrl
    """The URL of a collector that accepts OTLP over HTTP, such as `http://collector.monitoring.svc:4318`. Replicas send
    to the path `/v1/traces` below it, without a proxy.
    """
    sample_percent: Percent = 1
    """The percentage of the requests without a valid `traceparent` that have spans, from 0 to 100. For other requests,
    the sampled flag of the `traceparent` decides. Default: 1.
    """
