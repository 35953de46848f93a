"""What spans cost a prediction, against the same replica without; needs `wrk`.

    python -m benchmarks.tracing_cost MODEL_FOLDER [--seconds 2] [--rounds 7] [--connections 16] [--rows 1]

Servers of one process share the loaded model: one without tracing, one that records 1 % of its requests and one that
records all of them. A process beside it takes what they send. Rounds alternate between them; the ratio of processor
time a request, with that of the thread that sends, is taken within a round, its median reported with its smallest and
largest.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time

from benchmarks import feedback_cost

from fairlead_runtime.model import prepare
from fairlead_runtime.tracing import tracer
from fairlead_spans import exporter
from fairlead_spans.counters import SpanCounters
from fairlead_spans.span import AnsweredRequest

SHARES = {"off": None, "1 %": 0.01, "all": 1.0}
NAMES = tracer.Names(namespace="bench", model="bench", revision=feedback_cost.REVISION, replica="bench-0")
SINK = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> None:
    chosen, prepared, body = feedback_cost.read_arguments()
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        endpoint = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
        try:
            compare(prepared, body, endpoint, chosen)
        finally:
            sink.terminate()


def compare(prepared: prepare.PreparedModel, body: str, endpoint: str, chosen: argparse.Namespace) -> None:
    replicas = {name: Traced(prepared, share, endpoint) for name, share in SHARES.items()}
    spent_us: dict[str, list[float]] = {name: [] for name in replicas}
    for _ in range(chosen.rounds + 1):
        for name, replica in replicas.items():
            spent = feedback_cost.measure(body, replica.port, chosen.connections, chosen.seconds, replica.settle)
            spent_us[name].append(spent)
    for name in spent_us:
        print(feedback_cost.describe(spent_us, name, base="off"))
        print(f"    {replicas[name].counted}")


class Traced:
    """One more replica of this process, which records this share of its requests, or is not traced."""

    def __init__(self, prepared: prepare.PreparedModel, share: float | None, endpoint: str) -> None:
        self.counted = SpanCounters()
        self._recorded = 0
        (variant,) = (each for each in feedback_cost.VARIANTS if each.name == "tokens")
        record = None
        if share is not None:
            settings = exporter.Settings(endpoint=endpoint, resource=NAMES.describe(), trust=None)
            self._sender = exporter.Exporter(settings, self.counted)
            record = tracer.Tracer(NAMES, share, self._take).record
        self.port = feedback_cost.serve(variant, prepared, record=record)

    def settle(self) -> None:
        """Waits until all that was recorded is sent or dropped, so that no other replica's time has it."""
        while sum(dataclasses.astuple(self.counted)) < self._recorded:
            time.sleep(0.01)

    def _take(self, request: AnsweredRequest) -> None:
        self._recorded += request.spans
        self._sender.offer(request)


if __name__ == "__main__":
    main()
