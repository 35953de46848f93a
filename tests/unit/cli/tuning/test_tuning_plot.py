"""The picture of latency against throughput, by its pixels."""

from __future__ import annotations

from tests.support.png_pixels import count, decode

from fairlead_cli.charts import COLOURS, DOTS_PER_INCH, POINTS_PER_INCH
from fairlead_cli.tuning import plot
from fairlead_cli.tuning.figures import Block, Measured, Point
from fairlead_cli.tuning.settings import Load, Setting

LOAD = Load(rate=400, latency_max_s=0.020)


def block(offered: float, p99_ms: float | None) -> Block:
    p99_s = None if p99_ms is None else p99_ms / 1e3
    return Block(
        offered=offered, answered=offered, requests=500, failed=0, p50_s=p99_s, p99_s=p99_s, cpu_s_per_request=0.001
    )


def measured(setting: Setting, p99s_ms: dict[int, tuple[float | None, float | None]]) -> Measured:
    points = {
        count: Point(setting=setting, replicas=count, blocks=[block(400 / count, each) for each in rounds])
        for count, rounds in p99s_ms.items()
    }
    return Measured(setting=setting, points=points, memory_bytes=0)


def test_each_setting_has_its_colour_and_one_that_answered_nothing_is_left_out_of_the_curves() -> None:
    off = measured(Setting(threads=1, rows=None), {1: (90, 140), 2: (9, 12), 4: (5, 6)})
    batched = measured(Setting(threads=1, rows=64), {1: (18, 26), 2: (8, 9), 4: (5, 7)})
    silent = measured(Setting(threads=2, rows=64), {1: (None, None), 2: (None, None), 4: (None, None)})
    pixels = decode(plot.draw([off, batched, silent], LOAD))
    scale = DOTS_PER_INCH / POINTS_PER_INCH
    assert pixels.shape == (plot.HEIGHT * scale, plot.WIDTH * scale, 3)
    counts = [count(pixels[:, : round(560 * scale)], colour) for colour in COLOURS[:3]]
    assert counts[0] > 500
    assert counts[1] > 500
    assert counts[2] == 0


def test_a_load_that_nothing_answered_is_drawn_with_its_target_alone() -> None:
    silent = measured(Setting(threads=1, rows=64), {1: (None, None)})
    assert decode(plot.draw([silent], LOAD)).shape[2] == 3
