"""Spans of a replica's requests, sent to a collector of OpenTelemetry. Imported only where tracing is on."""
