"""Gateway → replica against uvicorn with raw ASGI and the same model: rounds in turn, ratios within a round."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy

from fairlead_cli import load

PEER_START_S = 300.0


class Void(Exception):
    """A round in which a request failed measures nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The same requests to both sides, one after the other."""

    ours: load.Report
    peer: load.Report

    @property
    def rate_ratio(self) -> float:
        """Above 1: the gateway's path answers more requests a second."""
        return self.ours.rate / self.peer.rate

    def latency_ratio(self, quantile: str) -> float:
        """Below 1: the gateway's path answers sooner."""
        ours, peer = (getattr(report.latency, quantile) for report in (self.ours, self.peer))
        return float(ours / peer)


def input_name(gateway: str, model: str) -> str:
    """The input's name, by the replica's own metadata."""
    with urllib.request.urlopen(f"{gateway}/v2/models/{model}", timeout=10) as answer:
        return str(json.load(answer)["inputs"][0]["name"])


def bodies(heldout: pathlib.Path, name: str, rows: int, count: int = 16) -> tuple[bytes, ...]:
    """``count`` different requests of ``rows`` held-out samples each."""
    with numpy.load(heldout) as kept:
        inputs = kept["inputs"]
    made = []
    for number in range(count):
        chosen = inputs[numpy.arange(number * rows, (number + 1) * rows) % len(inputs)]
        tensor = {"name": name, "datatype": "FP32", "shape": list(chosen.shape), "data": chosen.ravel().tolist()}
        made.append(json.dumps({"inputs": [tensor]}).encode())
    return tuple(made)


@contextmanager
def peer(saved_model: pathlib.Path, model: str) -> Iterator[str]:
    """Starts the peer on a free loopback port for a with-block; gives its address once it listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "raw_asgi_peer:make_app", "--factory", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    environment = {"PEER_SAVED_MODEL": str(saved_model.resolve()), "PEER_MODEL": model, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(command, cwd=pathlib.Path(__file__).parent, env={**os.environ, **environment})
    try:
        _await_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PEER_START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Void(f"the peer ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise Void("the peer did not listen in time")


def measure(asked: load.Settings, *, timeout_s: float) -> load.Report:
    """One side of a round.

    Raises:
        Void: a request failed.
    """
    with load.background(asked) as run:
        report = run.wait(timeout_s=timeout_s)
    if report.failed:
        raise Void(report.summary())
    return report


def compare(ours: load.Settings, theirs: load.Settings, *, rounds: int, timeout_s: float) -> list[Round]:
    """The first round warms both sides up and is thrown away."""
    found = []
    for number in range(rounds + 1):
        peer_report = measure(theirs, timeout_s=timeout_s)
        our_report = measure(ours, timeout_s=timeout_s)
        done = Round(ours=our_report, peer=peer_report)
        print(f"round {number}: ours {our_report.rate:.0f}/s, peer {peer_report.rate:.0f}/s", file=sys.stderr)
        if number > 0:
            found.append(done)
    return found


def table(rounds: Sequence[Round]) -> str:
    """Medians of the ratios with their span, absolute medians beside them."""
    lines = ["| | ratio ours/peer (smallest to largest) | ours | peer |", "| --- | --- | --- | --- |"]
    rates = [done.rate_ratio for done in rounds]
    ours, theirs = (statistics.median(getattr(done, side).rate for done in rounds) for side in ("ours", "peer"))
    lines.append(f"| requests/s | {_span(rates)} | {ours:.0f} | {theirs:.0f} |")
    for quantile in ("p50_ms", "p99_ms"):
        ratios = [done.latency_ratio(quantile) for done in rounds]
        sides = (
            statistics.median(getattr(getattr(done, s).latency, quantile) for done in rounds) for s in ("ours", "peer")
        )
        ours, theirs = sides
        lines.append(f"| {quantile[:3]}, ms | {_span(ratios)} | {ours:.2f} | {theirs:.2f} |")
    return "\n".join(lines)


def _span(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main(arguments: list[str] | None = None) -> int:
    flags = _parser().parse_args(arguments)
    gateway = flags.gateway.rstrip("/")
    sent = bodies(flags.heldout, input_name(gateway, flags.model), flags.rows)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()}; {flags.connections} connections, {flags.rows} rows a request"
    )
    with peer(flags.saved_model, flags.model) as address:
        ours, theirs = (
            load.Settings(
                url=url, model=flags.model, bodies=sent, requests=flags.requests, connections=flags.connections
            )
            for url in (gateway, address)
        )
        try:
            rounds = compare(ours, theirs, rounds=flags.rounds, timeout_s=flags.requests * 0.05 + 60)
        except Void as error:
            print(f"void: {error}", file=sys.stderr)
            return 1
    print(table(rounds))
    print(f"load after {os.getloadavg()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Gateway and replica against uvicorn with raw ASGI.")
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--model", default="dense", help="one with float inputs")
    parser.add_argument("--saved-model", type=pathlib.Path, required=True)
    parser.add_argument("--heldout", type=pathlib.Path, required=True)
    parser.add_argument("--requests", type=int, default=5000, help="a round and side")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    return parser


if __name__ == "__main__":
    sys.exit(main())
