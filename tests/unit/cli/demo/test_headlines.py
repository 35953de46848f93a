"""The demo shows metrics by their names, which the operator and the gateway give them."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

from typing_extensions import override

from fairlead_cli.demo import headlines
from fairlead_gateway.metrics import Metrics as GatewayMetrics
from fairlead_operator.telemetry import Metrics as OperatorMetrics


@contextlib.contextmanager
def exposing(body: bytes) -> Iterator[str]:
    """The base URL of a server whose ``/metrics`` is this text."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_: Any) -> None:
            """No line for each request."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_passes_of_the_operator_are_shown() -> None:
    metrics = OperatorMetrics()
    metrics.reconciles.labels("ModelKey", "Done").inc(3)
    with exposing(metrics.exposition()) as url:
        assert [line.split()[-3:] for line in headlines.read_operator(url)] == [["ModelKey", "Done", "3"]]


def test_the_requests_of_the_gateway_are_shown() -> None:
    metrics = GatewayMetrics()
    metrics.requests.add(("digits", "0123456789"), "200", "--", 1000)
    with exposing(metrics.text()) as url:
        assert [line.split()[-4:] for line in headlines.read_gateway(url)] == [["digits", "0123456789", "200", "1"]]
