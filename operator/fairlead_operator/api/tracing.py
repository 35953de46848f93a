"""``spec.tracing`` of a ServingClass: where the spans of requests go, and of how many requests there are any."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict

from fairlead_operator.api.fields import SERVICE_URL, CaConfigMapName
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import number, rule, rules, text

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
    """The OpenTelemetry collector to which gateways and replicas send spans, and the share of requests with spans."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.caConfigMapName) || self.endpoint.startsWith('https://')",
                "must only be set if spec.tracing.endpoint begins with https://, because no certificate is checked "
                "otherwise",
                field=".caConfigMapName",
            )
        )
    )

    endpoint: CollectorUrl
    """The URL of a collector that accepts OTLP over HTTP, such as `http://collector.monitoring.svc:4318`. Gateways and
    replicas send to the path `/v1/traces` below it, without a proxy.
    """
    ca_config_map_name: CaConfigMapName | None = None
    """The name of a ConfigMap whose key `ca.crt` holds the certificates (PEM) of the authorities that are trusted for
    an `https` endpoint, beside those of the image. Gateways and replicas of a namespace without it serve without spans.
    """
    sample_percent: Percent = 1
    """The percentage of the requests without a valid `traceparent` that have spans, from 0 to 100. For other requests,
    the sampled flag of the `traceparent` decides. The percentage of the class that the gateway has counts. Default: 1.
    """
