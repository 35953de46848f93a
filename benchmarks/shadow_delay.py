"""What a shadow costs the caller: latencies with marked requests against unmarked ones, in turns; needs `wrk`.

    python -m benchmarks.shadow_delay [--seconds 2] [--rounds 7] [--connections 2]

One replica answers; its copies go to a candidate in a process of its own that answers (healthy), holds every answer for
a second (slow), or isn't there (dead). Ratios to the unmarked requests of the same round: median, smallest, largest.
The model is a stand-in that doubles its rows, so that the copies weigh as much as they can.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

from tests.support import replica_parts

from fairlead_runtime.model.predictor import Tensors

CANDIDATE = "7ab0c9d1e2"
DEAD_PORT = 1
QUANTILES = ("50%", "99%")
BODY = json.dumps({"instances": [[0.1, 0.2, 0.3, 0.4]]})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--candidate", choices=("healthy", "slow"), help="run as the candidate")
    chosen = parser.parse_args()
    if chosen.candidate:
        run_candidate(is_slow=chosen.candidate == "slow")
        return
    signature = replica_parts.float_signature(rows=None)
    with (
        replica_parts.running(replica_parts.Setting(signature=signature)) as stable,
        candidate("healthy") as healthy,
        candidate("slow") as slow,
    ):
        marks = {"unmarked": None, "healthy": healthy, "slow": slow, "dead": DEAD_PORT}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in marks}
        for _ in range(chosen.rounds + 1):
            for name, port in marks.items():
                found[name].append(measure(stable.port, port, chosen.connections, chosen.seconds))
        for name, all_rounds in found.items():
            print(f"{name}: {describe_delay(all_rounds[1:], found['unmarked'][1:])}")
        print(f"counted: {stable.parts.metrics.measured.pairs(CANDIDATE).body()}")


def describe_delay(rounds: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    parts = []
    for quantile in QUANTILES:
        ratios = sorted(mine[quantile] / theirs[quantile] for mine, theirs in zip(rounds, base, strict=True))
        middle_ms = statistics.median(each[quantile] for each in rounds)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        parts.append(f"{quantile} {middle_ms:.2f} ms, ratio {spread}")
    return "; ".join(parts)


@contextlib.contextmanager
def candidate(kind: str) -> Iterator[int]:
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.shadow_delay", "--candidate", kind],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.kill()
        child.communicate()


def run_candidate(*, is_slow: bool) -> None:
    model = replica_parts.DoublingModel()

    def slow(inputs: Tensors) -> Tensors:
        threading.Event().wait(1.0)
        return model(inputs)

    signature = replica_parts.float_signature(rows=None)
    setting = replica_parts.Setting(
        signature=signature, revision=CANDIDATE, model=slow if is_slow else model, call_s=1.0 if is_slow else 0.0
    )
    with replica_parts.running(setting) as running:
        print(running.port, flush=True)
        sys.stdin.read()


def measure(port: int, mark_port: int | None, connections: int, seconds: int) -> dict[str, float]:
    """Quantiles of the latency, in milliseconds."""
    mark = f"wrk.headers['x-fairlead-shadow'] = '127.0.0.1:{mark_port}/{CANDIDATE}'\n" if mark_port else ""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = {json.dumps(BODY)}\n{mark}")
        script.flush()
        url = f"http://127.0.0.1:{port}/v1/models/{replica_parts.MODEL}:predict"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name, url]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in shown or "Socket errors" in shown:
        raise SystemExit(shown)
    lines = (line.split() for line in shown.splitlines())
    return {line[0]: milliseconds(line[1]) for line in lines if len(line) == 2 and line[0] in QUANTILES}


def milliseconds(text: str) -> float:
    """What wrk prints: `1.5ms`, `870.00us`, `1.02s`."""
    for unit, factor in (("ms", 1.0), ("us", 1e-3), ("s", 1e3)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


if __name__ == "__main__":
    main()
