"""Spans and how they are sent to a collector of OpenTelemetry: the same for a gateway and a replica.

`lookup` and `trust` say where a server is and which certificates it may have; replicas also read models by them.

`exporter` and `otlp` import `opentelemetry-proto`, so they are imported only where tracing is on.
"""
