"""Latency against throughput as a PNG: a curve for each setting, with the spread over the rounds at each point."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead_cli.charts import panels
from fairlead_cli.charts.canvas import GREY, Canvas
from fairlead_cli.tuning.figures import Measured, Point
from fairlead_cli.tuning.settings import Load

WIDTH, HEIGHT = 820, 420
_BOX = panels.Box(left=70, top=60, right=560, bottom=360)
_DASHES = (0.0, 6.0)


def draw(measured: Sequence[Measured], load: Load) -> bytes:
    """Each point is one number of replicas: its throughput is what one of them answered."""
    shown = [point for each in measured for point in each.points.values() if point.p99 is not None]
    canvas = Canvas(WIDTH, HEIGHT)
    across = panels.Axis(name="answered requests/s, one replica", low=0, high=1.05 * _most_answered(shown))
    up = panels.Axis(name="p99, ms", low=_low(shown, load), high=_high(shown, load), is_log=True)
    scales = panels.frame(canvas, _BOX, f"Latency against throughput for {load.rate:g} requests/s", across, up)
    target = load.latency_max_s * 1e3
    limit = panels.Curve(name="target", points=[(0, target), (across.high, target)], colour=GREY, dash=3)
    curves = [limit, *(_curve(number, each) for number, each in enumerate(measured))]
    for number, each in enumerate(measured):
        for point in each.points.values():
            if point.p99 is not None:
                ends = [(point.answered, point.p99.least * 1e3), (point.answered, point.p99.most * 1e3)]
                spread = panels.Curve(name="", points=ends, colour=_colour(number))
                panels.curves(canvas, scales, [spread])
    panels.curves(canvas, scales, [curve for curve in curves if len(curve.points) > 1])
    panels.legend(canvas, _BOX.right + 30, _BOX.top + 10, curves)
    return canvas.encode()


def _curve(number: int, measured: Measured) -> panels.Curve:
    points = sorted((each.answered, each.p99.median * 1e3) for each in measured.points.values() if each.p99 is not None)
    dash = _DASHES[number // len(panels.COLOURS) % len(_DASHES)]
    return panels.Curve(name=measured.setting.name, points=points, colour=_colour(number), dash=dash)


def _colour(number: int) -> tuple[int, int, int]:
    return panels.COLOURS[number % len(panels.COLOURS)]


def _most_answered(shown: Sequence[Point]) -> float:
    return max((each.answered for each in shown), default=1.0)


def _low(shown: Sequence[Point], load: Load) -> float:
    return 0.8e3 * min([load.latency_max_s, *(each.p99.least for each in shown if each.p99 is not None)])


def _high(shown: Sequence[Point], load: Load) -> float:
    return 1.25e3 * max([load.latency_max_s, *(each.p99.most for each in shown if each.p99 is not None)])
