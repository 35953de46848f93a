"""Replicas and latency while the load changes: ``python -m benchmarks.autoscaling [OUT.svg]``.

Real API server, Ray, gateway and operator on this machine, and a model that takes some 20 ms of one core for each
request, so that more replicas answer more. The load is a closed loop whose connections change: a step, a ramp and a
burst. Each slice of some seconds is a run of the counting client, whose quantiles are exact; the replicas are what the
gateway sees up at its end. Draws the three stories as one SVG and prints the figures.

There is no peer: what is shown is how the number follows the load, and that no request fails meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.e2e.stage import Model, Stage, raised
from tests.support.until import until

from fairlead_cli import load

OUT = pathlib.Path("docs/autoscaling.svg")
MOST = 4
SLICE_S = 3.0
SCALING = {
    "minReplicas": 1,
    "maxReplicas": MOST,
    "target": {"ongoingRequests": 2},
    "scaleDown": {"stabilizationSeconds": 10},
}
STORIES: dict[str, tuple[int, ...]] = {
    "step": (1, 1, *[8] * 8, *[1] * 6),
    "ramp": (*range(1, 9), *[1] * 6),
    "burst": (1, 16, 16, 16, *[1] * 7),
}
_MAKE_MODEL = """
import sys
import tensorflow as tf
module = tf.Module()
@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")], autograph=False)
def call(x):
    side = tf.eye(384) * 0.5 + tf.reduce_max(x) * 1e-9
    for _ in range(30):
        side = tf.linalg.matmul(side, side) + tf.eye(384) * 0.1
    return {"y": x + tf.reduce_max(side)}
module.call = call
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": call})
"""
_BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some seconds of a story: ``at_s`` is when it ended, from the beginning of the story."""

    at_s: float
    connections: int
    replicas: int
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int


def main() -> None:
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    kept = os.environ.get("FAIRLEAD_E2E_FOLDER")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        stage = stack.enter_context(raised(folder, keep=bool(kept)))
        saved = folder / "heavy"
        subprocess.run([sys.executable, "-c", _MAKE_MODEL, str(saved)], check=True, stderr=subprocess.DEVNULL)
        model = stack.enter_context(
            stage.deployed(
                "heavy",
                model={"uri": saved.as_uri(), "digest": None},
                serving={"batching": {"mode": "Off"}},
                scaling=SCALING,
            )
        )
        played = {name: list(play(stage, model, connections)) for name, connections in STORIES.items()}
    out.write_text(draw(played), encoding="utf-8")
    print(table(played))


def play(stage: Stage, model: Model, connections: Sequence[int]) -> Iterator[Slice]:
    """One story, from one replica on."""
    until(lambda: model.up() == 1, "one replica", deadline_s=200)
    began_s = time.monotonic()
    for count in connections:
        asked = load.Settings(
            url=stage.local.gateway_url,
            model=model.name,
            bodies=(_BODY,),
            connections=count,
            duration_s=SLICE_S,
            expect_shape=(1, 4),
        )
        with load.background(asked) as run:
            report = run.wait(timeout_s=60)
        latency = report.latency
        yield Slice(
            at_s=time.monotonic() - began_s,
            connections=count,
            replicas=model.up(),
            p50_ms=latency.p50_ms if latency is not None else 0.0,
            p99_ms=latency.p99_ms if latency is not None else 0.0,
            requests=report.requests,
            failed=report.failed,
        )


def table(played: dict[str, list[Slice]]) -> str:
    lines = ["| story | s | connections | replicas | p50 ms | p99 ms | requests | failed |", "| --- " * 8 + "|"]
    for name, slices in played.items():
        lines += [
            f"| {name} | {each.at_s:.0f} | {each.connections} | {each.replicas} | {each.p50_ms:.0f} | "
            f"{each.p99_ms:.0f} | {each.requests} | {each.failed} |"
            for each in slices
        ]
    every = [each for slices in played.values() for each in slices]
    total, failed = sum(each.requests for each in every), sum(each.failed for each in every)
    return "\n".join([*lines, f"{total} requests, {failed} failed; load average {os.getloadavg()[0]:.1f}"])


_WIDTH, _HEIGHT, _LEFT, _GAP = 900, 230, 60, 50


def draw(played: dict[str, list[Slice]]) -> str:
    """Each story is a panel: connections and replicas by the left axis, latencies in milliseconds by the right one."""
    height = len(played) * (_HEIGHT + _GAP) + 20
    panels = [_panel(name, slices, top=20 + at * (_HEIGHT + _GAP)) for at, (name, slices) in enumerate(played.items())]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _LEFT}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *panels, "</svg>", ""])


def _panel(name: str, slices: Sequence[Slice], *, top: int) -> str:
    last_s = slices[-1].at_s
    most_count = max(*(each.connections for each in slices), MOST)
    most_ms = max(each.p99_ms for each in slices) or 1.0
    kinds: tuple[tuple[str, str, list[float]], ...] = (
        ("connections", "#999999", [each.connections / most_count for each in slices]),
        ("replicas", "#1f77b4", [each.replicas / most_count for each in slices]),
        ("p50", "#2ca02c", [each.p50_ms / most_ms for each in slices]),
        ("p99", "#d62728", [each.p99_ms / most_ms for each in slices]),
    )
    parts = [
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#cccccc"/>',
        _text(_LEFT, top - 5, f"{name}: 0 to {last_s:.0f} s"),
        _text(5, top + 10, f"{most_count}"),
        _text(_LEFT + _WIDTH + 5, top + 10, f"{most_ms:.0f} ms"),
    ]
    for at, (label, colour, heights) in enumerate(kinds):
        points = " ".join(
            f"{_LEFT + _WIDTH * each.at_s / last_s:.1f},{top + _HEIGHT * (1 - height):.1f}"
            for each, height in zip(slices, heights, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + 300 + at * 110, top - 5, f"— {label}", colour))
    return "\n".join(parts)


def _text(x: float, y: float, words: str, colour: str = "black") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
