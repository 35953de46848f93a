"""TensorFlow and ONNX Runtime side by side: time of a call, start and memory, for the three example networks.

    python -m benchmarks.engines [--rounds 9] [--models DIR] [--json FILE]

Each engine loads each model in a process of its own, as a replica does (`prepare`), without Ray and a server. Then both
are called in turns, one at a time; a ratio is taken within a round. The weights are random. Times are of the processor,
all threads of the process together, which other programs disturb less; wall times stand beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ENGINES = ("TensorFlow", "ONNXRuntime")
MODELS = ("dense", "cnn", "lstm")
ROWS = (1, 32)
BLOCK_S = 0.1


def make_models(folder: Path) -> None:
    """The three networks of `examples`, untrained."""
    import numpy as np
    from examples.families import FAMILIES

    shapes = {"dense": (1, 784), "cnn": (1, 28, 28, 1), "lstm": (1, 32)}
    for name, shape in shapes.items():
        data = SimpleNamespace(train_inputs=np.zeros(shape), classes=range(10), vocabulary=range(1000))
        FAMILIES[name].build(data).export(folder / name, verbose=False)  # type: ignore[arg-type]


class Side:
    """A process that has one model in one engine, and calls it when asked."""

    def __init__(self, model: Path, engine: str, cache: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.engines", "--side", str(model), engine, str(cache)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started = self._read()

    def call_us(self, rows: int) -> tuple[float, float]:
        """The mean over one block, of the processor and of the wall clock."""
        assert self._process.stdin is not None
        print(rows, file=self._process.stdin, flush=True)
        found = self._read()
        return float(found["processor_us"]), float(found["wall_us"])

    def close(self) -> int:
        """Ends it; its proportional share of memory in kB at the end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        pss = int(self._read()["pss_kb"])
        self._process.wait(60)
        return pss

    def _read(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: Mapping[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"the process of the engine ended with {self._process.wait()}")


def be_side(model: str, engine: str, cache: str) -> None:
    """The other end of `Side`."""
    begun_s = time.perf_counter()
    from fairlead_runtime import config
    from fairlead_runtime.model import prepare
    from fairlead_runtime.model.signature import example_inputs

    raw = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "model",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": Path(model).as_uri()},
        "engine": engine,
    }
    environment = config.Environment(cache_dir=Path(cache))
    prepared = prepare.prepare(config.parse(raw), None, environment, threads=1)
    if prepared.engine.engine.value != engine:
        raise SystemExit(f"{model} is not served by {engine}: {prepared.engine.why}")
    start = {"start_s": time.perf_counter() - begun_s, "start_cpu_s": time.process_time()}
    print(json.dumps({**start, "kind": prepared.model.kind}), flush=True)
    inputs = {rows: example_inputs(prepared.model.signature, rows, seed=1) for rows in ROWS}
    call = prepared.model.predictor
    for line in sys.stdin:
        rows = inputs[int(line)]
        call(rows)
        calls, started_s, processor_s = 0, time.perf_counter(), time.process_time()
        while (spent_s := time.perf_counter() - started_s) < BLOCK_S:
            call(rows)
            calls += 1
        processor_s = time.process_time() - processor_s
        spent = {"processor_us": processor_s / calls * 1e6, "wall_us": spent_s / calls * 1e6}
        print(json.dumps(spent), flush=True)
    print(json.dumps({"pss_kb": _pss_kb()}), flush=True)


def _pss_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def sides(model: Path, cache: Path) -> Iterator[Mapping[str, Side]]:
    # The first start converts the model; the one that is measured finds the conversion, as all but a node's first do.
    Side(model, "ONNXRuntime", cache).close()
    yield {engine: Side(model, engine, cache) for engine in ENGINES}


def compare(model: Path, cache: Path, rounds: int) -> dict[str, object]:
    with sides(model, cache) as both:
        times: dict[tuple[str, int], list[tuple[float, float]]] = {
            (engine, rows): [] for engine in ENGINES for rows in ROWS
        }
        for number in range(rounds + 1):
            for rows in ROWS:
                for engine in ENGINES if number % 2 else reversed(ENGINES):
                    spent_us = both[engine].call_us(rows)
                    if number:
                        times[engine, rows].append(spent_us)
        found: dict[str, object] = {"model": model.name}
        for rows in ROWS:
            pairs = list(zip(*(times[engine, rows] for engine in ENGINES), strict=True))
            ratios = [tensorflow[0] / onnx[0] for tensorflow, onnx in pairs]
            found[f"rows_{rows}"] = {
                **{engine: [median(each) for each in zip(*times[engine, rows], strict=True)] for engine in ENGINES},
                "ratio": [median(ratios), min(ratios), max(ratios)],
            }
        found["start"] = {engine: side.started for engine, side in both.items()}
        found["pss_mb"] = {engine: side.close() / 1024 for engine, side in both.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--models", type=Path, help="a folder with SavedModels dense, cnn and lstm; made if left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        be_side(*given.side)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="fairlead-engines-") as work:
        models = given.models or Path(work, "models")
        if given.models is None:
            make_models(models)
        load_before = os.getloadavg()[0]
        found = [compare(models / name, Path(work, "cache"), given.rounds) for name in MODELS]
    report(found, f"{os.cpu_count()} cores, load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


def report(found: list[dict[str, Any]], circumstances: str) -> None:
    print(circumstances)
    print("| model | rows | TensorFlow, µs (wall) | ONNX Runtime, µs (wall) | ratio (least, most) |")
    print("| --- | --- | --- | --- | --- |")
    for each in found:
        for rows in ROWS:
            part = each[f"rows_{rows}"]
            ratio, least, most = part["ratio"]
            times = " | ".join(f"{part[engine][0]:,.0f} ({part[engine][1]:,.0f})" for engine in ENGINES)
            print(f"| {each['model']} | {rows} | {times} | {ratio:.2f} ({least:.2f}, {most:.2f}) |")
    print("| model | engine | start, s | start, processor s | PSS, MB |")
    print("| --- | --- | --- | --- | --- |")
    for each in found:
        for engine in ENGINES:
            start = each["start"][engine]
            figures = f"{start['start_s']:.2f} | {start['start_cpu_s']:.2f} | {each['pss_mb'][engine]:.0f}"
            print(f"| {each['model']} | {engine} ({start['kind'][:40]}) | {figures} |")


if __name__ == "__main__":
    main()
