"""A collector of spans on loopback: takes OTLP over HTTP and decodes it by OpenTelemetry's own messages."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support.replica_parts import wait_until
from typing_extensions import override


@dataclass
class Collector:
    """What has come; `refuses` is how many spans of each export it answers not to have taken."""

    url: str = ""
    refuses: int = 0
    reason: str = ""
    """Why it refuses them."""
    statuses: list[int] = field(default_factory=list)
    """What the next exports are answered with, before all further ones are taken."""
    exports: list[trace_service_pb2.ExportTraceServiceRequest] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def spans(self) -> list[trace_pb2.Span]:
        return [
            span
            for export in list(self.exports)
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, name: str, count: int = 1) -> list[trace_pb2.Span]:
        """The spans of this name, once there are so many."""
        wait_until(lambda: len([span for span in self.spans() if span.name == name]) >= count)
        return [span for span in self.spans() if span.name == name]

    def resource(self) -> dict[str, object]:
        return attributes(self.exports[0].resource_spans[0].resource.attributes)


def attributes(given: object) -> dict[str, object]:
    """Attributes by name, whatever their kind."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in given}


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        collector = self.server.collector
        body = self.rfile.read(int(self.headers["content-length"]))
        collector.paths.append(self.path)
        status = collector.statuses.pop(0) if collector.statuses else 200
        answer = b""
        if status == 200:
            collector.exports.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            given = trace_service_pb2.ExportTraceServiceResponse()
            if collector.refuses:
                given.partial_success.rejected_spans = collector.refuses
                given.partial_success.error_message = collector.reason
            answer = given.SerializeToString()
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @override
    def log_message(self, *args: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collector: Collector, tls: ssl.SSLContext | None) -> None:
        self.collector = collector
        self._tls = tls
        super().__init__(("127.0.0.1", 0), _Answer)

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        if self._tls is None:
            return plain, address
        # Else a client that doesn't go on would hold up all others.
        plain.settimeout(60)
        return self._tls.wrap_socket(plain, server_side=True), address


@contextmanager
def collecting(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """A collector until the end of the block; with `tls` by `https`."""
    collector = Collector()
    with _Server(collector, tls) as server:
        collector.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
