"""Measures cases in rounds: in each, every server gets the same requests for the same time, one after the other."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence

from benchmarks.peers import bodies, grpc_load, peer
from benchmarks.peers.figures import Case, Measurement, Round
from benchmarks.peers.servers import Server

from fairlead_cli import load


def measure(
    case: Case, asked: bodies.Requests, servers: Sequence[Server], *, rounds: int, seconds: float
) -> list[Round]:
    """``rounds`` rounds, after one that warms every server up and is thrown away. Every other one goes backwards."""
    found: list[Round] = []
    for number in range(rounds + 1):
        done: dict[str, Measurement] = {}
        for server in servers if number % 2 else reversed(servers):
            done[server.name] = _ask(case, asked, server, seconds)
        if number:
            found.append(done)
            shown = ", ".join(f"{server.name} {_write(done[server.name])}" for server in servers)
            print(f"{case}: round {number}: {shown}", file=sys.stderr, flush=True)
    return found


def _write(measured: Measurement) -> str:
    if measured.is_void:
        return f"void ({measured.failed} of {measured.requests} failed)"
    return f"{measured.rate:.0f}/s at {measured.processor_us:.0f} µs"


def _ask(case: Case, asked: bodies.Requests, server: Server, seconds: float) -> Measurement:
    before_s = server.processor_s()
    requests, failed, rate, p50_ms, p99_ms = (_call if case.encoding == peer.GRPC else _send)(
        case, asked, server, seconds
    )
    spent_s = server.processor_s() - before_s
    return Measurement(
        requests=requests,
        failed=failed,
        rate=rate,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        processor_us=spent_s / max(requests, 1) * 1e6,
    )


_Counted = tuple[int, int, float, float, float]
"""Requests, failed ones, requests a second, and the quantiles."""


def _send(case: Case, asked: bodies.Requests, server: Server, seconds: float) -> _Counted:
    settings = load.Settings(
        url=f"http://127.0.0.1:{server.http_port}",
        model=case.model,
        bodies=asked.bodies,
        path=server.path,
        headers=asked.headers,
        expect_shape=asked.outputs[0].shape,
        duration_s=seconds,
        connections=case.connections,
        rate_limit=case.rate,
        open_loop=case.rate is not None,
    )
    with load.background(settings) as run:
        report = run.wait(timeout_s=seconds + 120)
    if report.failed:
        print(f"{server.name}: {report.summary()}", file=sys.stderr, flush=True)
    p50_ms, p99_ms = (report.latency.p50_ms, report.latency.p99_ms) if report.latency is not None else (0.0, 0.0)
    return report.requests, report.failed, report.rate, p50_ms, p99_ms


def _call(case: Case, asked: bodies.Requests, server: Server, seconds: float) -> _Counted:
    found = grpc_load.run(
        grpc_load.Asked(
            address=server.grpc_address,
            model=case.model,
            bodies=[base64.b64encode(body).decode() for body in asked.bodies],
            shape=list(asked.outputs[0].shape),
            connections=case.connections,
            seconds=seconds,
            rate=case.rate,
        )
    )
    if found.failed:
        print(f"{server.name}: {found.failed} of {found.requests} failed: {found.detail}", file=sys.stderr, flush=True)
    return found.requests, found.failed, found.requests / found.elapsed_s, found.p50_ms, found.p99_ms
