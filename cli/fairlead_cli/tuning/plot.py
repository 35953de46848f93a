"""Latency against throughput as a PNG: a curve for each setting, with the spread over the rounds at each point."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead_cli import charts
from fairlead_cli.tuning.figures import Measured, Point
from fairlead_cli.tuning.settings import Load

WIDTH, HEIGHT = 820, 420
_DASHES = ("-", "--")


def draw(measured: Sequence[Measured], load: Load) -> bytes:
    """Each point is one number of replicas: its throughput is what one of them answered."""
    figure = charts.new_figure(WIDTH, HEIGHT, f"Latency against throughput for {load.rate:g} requests/s")
    axes = charts.add_axes(figure, 70, 60, 560, 360)
    axes.set_yscale("log")
    charts.mark_one_two_five(axes.yaxis)
    axes.set_xlabel("answered requests/s, one replica", color=charts.GREY, size=8)
    axes.set_ylabel("p99, ms", color=charts.GREY, size=8)
    axes.axhline(load.latency_max_s * 1e3, color=charts.GREY, linestyle=":", label="target")
    for number, each in enumerate(measured):
        points = sorted((point for point in each.points.values() if point.p99 is not None), key=_answered)
        p99s = [point.p99 for point in points if point.p99 is not None]
        middle = [p99.median * 1e3 for p99 in p99s]
        below = [(p99.median - p99.least) * 1e3 for p99 in p99s]
        above = [(p99.most - p99.median) * 1e3 for p99 in p99s]
        axes.errorbar(
            [_answered(point) for point in points],
            middle,
            yerr=(below, above),
            color=charts.COLOURS[number % len(charts.COLOURS)],
            linestyle=_DASHES[number // len(charts.COLOURS) % len(_DASHES)],
            label=each.setting.name,
        )
    axes.set_xlim(left=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.04, 1), frameon=False, fontsize=9)
    return charts.encode(figure)


def _answered(point: Point) -> float:
    return point.answered
