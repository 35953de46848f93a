"""Spans and how they are sent to a collector of OpenTelemetry: the same for a gateway and a replica.

`exporter` and `otlp` import `opentelemetry-proto`, so they are imported only where tracing is on.
"""
