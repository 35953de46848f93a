"""What spans cost the gateway, against the same gateway without.

    python -m benchmarks.gateway_spans_cost [--requests 4000] [--rounds 11] [--connections 16]

Four gateways with the same replica, a stand-in without a model: one without tracing, one that is traced for 1 % of its
requests, one for all of them, and one that writes an access log instead. A process beside them takes the spans. Rounds
alternate between them; the ratio of processor time a request, of HAProxy and of the agent together, is taken within a
round, its median reported with its smallest and largest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from benchmarks.tracing_cost import SINK
from tests.support.gateway_process import Gateway, Replicas, make_node, revision, spec
from tests.support.until import until

from fairlead_cli import load

REVISION = "aaaaaaaaaa"
BASE = "off"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--connections", type=int, default=16)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sink() as endpoint, gateways(pathlib.Path(folder), endpoint) as made:
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        before = os.getloadavg()
        for _ in range(chosen.rounds + 1):
            for name, gateway in made.items():
                spent[name].append(measure(gateway, chosen.requests, chosen.connections))
        for name, rounds in spent.items():
            print(describe(name, rounds[1:], spent[BASE][1:]))
            print("   ", {each: made[name].metric("fairlead_gateway_spans_total", outcome=each) for each in OUTCOMES})
        print(f"load average {before[0]:.1f} before, {os.getloadavg()[0]:.1f} after; {os.cpu_count()} processors")


OUTCOMES = ("sent", "refused", "failed", "dropped")


def describe(name: str, rounds: list[tuple[float, float]], base: list[tuple[float, float]]) -> str:
    ratios = sorted(sum(mine) / sum(theirs) for mine, theirs in zip(rounds, base, strict=True))
    haproxy_us, agent_us = (statistics.median(each) for each in zip(*rounds, strict=True))
    spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"{name}: HAProxy {haproxy_us:.1f} µs, agent {agent_us:.1f} µs a request; ratio {spread}"


@contextlib.contextmanager
def sink() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
        finally:
            child.terminate()


@contextlib.contextmanager
def gateways(folder: pathlib.Path, endpoint: str) -> Iterator[Mapping[str, Gateway]]:
    traced = ("--traces-endpoint", endpoint, "--traces-sample-percent")
    flags = {BASE: (), "1 %": (*traced, "1"), "all": (*traced, "100"), "access log": ("--access-log",)}
    node = make_node(folder / "node")
    replicas = Replicas(node)
    made: dict[str, Gateway] = {}
    try:
        replicas.start("bench", REVISION)
        for number, (name, given) in enumerate(flags.items()):
            routes = ("--routes-file", str(folder / f"{number}-routes.json"))
            made[name] = Gateway(folder / str(number), nodes=[node], arguments=(*routes, *given))
            made[name].start()
            made[name].apply(bench=spec(REVISION, {REVISION: revision()}))
            made[name].wait_up("bench", REVISION)
        yield made
    finally:
        for gateway in made.values():
            gateway.stop()
        replicas.stop()


def measure(gateway: Gateway, requests: int, connections: int) -> tuple[float, float]:
    """Microseconds of processor time a request, of HAProxy and of the agent, with what is left to do after it."""

    def counted() -> float:
        return gateway.metric("fairlead_gateway_requests_total", code="200")

    answered, before = counted(), spent_s(gateway)
    asked = load.Settings(url=gateway.url, model="bench", bodies=(b"{}",), connections=connections, requests=requests)
    with load.background(asked) as run:
        report = run.wait(timeout_s=300)
    if report.failed:
        raise SystemExit(f"{report.summary()}")
    until(lambda: counted() - answered >= requests, "the lines of all requests are read")
    after = spent_s(gateway)
    haproxy, agent = ((then - now) / requests * 1e6 for then, now in zip(after, before, strict=True))
    return haproxy, agent


def spent_s(gateway: Gateway) -> tuple[float, float]:
    """Processor seconds of HAProxy's workers and of the agent since they began."""
    return sum(_spent_s(pid) for pid in gateway.workers()), _spent_s(gateway.pid)


def _spent_s(pid: int) -> float:
    """Source: Linux, `include/linux/posix-timers.h`: the clock of a process is made of its number."""
    return time.clock_gettime(~pid << 3 | 2)


if __name__ == "__main__":
    main()
