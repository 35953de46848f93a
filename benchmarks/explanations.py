"""What explanations cost: the time of one, and what predictions of the same replica lose while it explains.

    python -m benchmarks.explanations MODEL_FOLDER [--rate 200] [--seconds 10] [--rounds 5] [--heldout heldout.npz]

One replica without Ray and gateway, in a process of its own. Rounds alternate between predictions alone and the same
predictions while one connection asks for one explanation after another. Predictions are sent at a fixed rate, and one
that waits counts from when it was due; so a stop of the replica is in the quantiles of all requests that it delayed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.runtime_replica import configuration, serve_as_replica

from fairlead_cli import load
from fairlead_runtime.model import loader, signature
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.protocols import datatypes

MODEL = "bench"
SERVE = "--serve"


def main() -> int:
    if sys.argv[1:2] == [SERVE]:
        return serve(Path(sys.argv[2]))
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--heldout", type=Path, help="inputs in place of random ones")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    body = make_body(chosen.model, chosen.heldout)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    with replica(chosen.model) as url:
        explain_alone(url, body)
        ratios: dict[str, list[float]] = {"p50": [], "p99": []}
        for number in range(chosen.rounds + 1):
            quiet = predict(url, body, rate=chosen.rate, seconds=chosen.seconds)
            with load.background(explanations(url, body)) as explaining:
                busy = predict(url, body, rate=chosen.rate, seconds=chosen.seconds)
                explained = explaining.stop()
            if number == 0:
                # Connections, costs and caches are warm from here on.
                continue
            found = {"p50": busy.p50_ms / quiet.p50_ms, "p99": busy.p99_ms / quiet.p99_ms}
            for name, ratio in found.items():
                ratios[name].append(ratio)
            print(
                f"round {number}: p50 {quiet.p50_ms:.2f} and {busy.p50_ms:.2f} ms, p99 {quiet.p99_ms:.2f} and "
                f"{busy.p99_ms:.2f} ms, {explained.requests} explanations"
            )
    for name, found_ratios in ratios.items():
        least, most = min(found_ratios), max(found_ratios)
        print(f"{name} while explaining / alone: {statistics.median(found_ratios):.2f} ({least:.2f} to {most:.2f})")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


def make_body(model: Path, heldout: Path | None) -> bytes:
    """A request with one row of random numbers, or with the first held-out sample."""
    checked = loader.check(model, None, None, Bounds(bytes_max=1 << 33))
    if checked.signature is None:
        raise SystemExit("give a SavedModel: its signature is read without TensorFlow")
    (spec,) = checked.signature.inputs
    (row,) = signature.example_inputs(checked.signature, 1, seed=1)
    if heldout is not None:
        with np.load(heldout, allow_pickle=False) as kept:
            row = kept["inputs"][:1].astype(spec.dtype.numpy)
    tensor = {"name": spec.name, "datatype": datatypes.NAMES[spec.dtype], "shape": list(row.shape)}
    return json.dumps({"inputs": [{**tensor, "data": row.reshape(-1).tolist()}]}).encode()


def serve(model: Path) -> int:
    """A replica until standard input ends; its port is the first line of output."""
    print(serve_as_replica(configuration(model.resolve())), flush=True)
    sys.stdin.read()
    return 0


@contextlib.contextmanager
def replica(model: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.explanations", SERVE, str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.terminate()


def explanations(url: str, body: bytes, *, requests: int | None = None) -> load.Settings:
    path = f"/v2/models/{MODEL}/explain"
    return load.Settings(
        url=url, model=MODEL, path=path, bodies=(body,), connections=1, requests=requests, id_prefix="explain"
    )


def explain_alone(url: str, body: bytes) -> None:
    """The first explanation, which makes the gradient, and those after it."""
    for name, requests in (("the first explanation", 1), ("an explanation", 20)):
        with load.background(explanations(url, body, requests=requests)) as asked:
            found = asked.wait(timeout_s=600)
        require_success(found)
        assert found.latency is not None
        print(f"{name}: p50 {found.latency.p50_ms:.1f} ms, p99 {found.latency.p99_ms:.1f} ms")


def predict(url: str, body: bytes, *, rate: float, seconds: float) -> load.report.Latency:
    settings = load.Settings(
        url=url, model=MODEL, bodies=(body,), connections=8, rate_limit=rate, open_loop=True, duration_s=seconds
    )
    with load.background(settings) as asked:
        found = asked.wait(timeout_s=600)
    require_success(found)
    assert found.latency is not None
    return found.latency


def require_success(found: load.Report) -> None:
    if found.failures:
        raise SystemExit(f"a request failed, so nothing is claimed: {found.failures[0]}")


if __name__ == "__main__":
    sys.exit(main())
