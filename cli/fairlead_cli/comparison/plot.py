"""The candidates as a picture: accuracy against latency, with discs as large as the models, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairlead_cli.charts import panels
from fairlead_cli.charts.canvas import BLACK, GREY, Anchor, Canvas, Colour, Point, width_of
from fairlead_cli.charts.panels import Axis, Box
from fairlead_cli.charts.scales import Scale
from fairlead_cli.comparison import choosing
from fairlead_cli.comparison.choosing import Constraints, Recommendation
from fairlead_cli.comparison.figures import Measured

NAME_WIDTH = 240.0
"""Of a name that is drawn, in points; of a longer one its end is."""

RADIUS_MAX, RADIUS_MIN = 22.0, 3.0
_BOX = Box(left=80, top=100, right=860, bottom=360)
_TABLE_TOP = 432.0


def draw(candidates: Sequence[Measured], constraints: Constraints, found: Recommendation | None) -> bytes:
    """A PNG. The area of a disc is in proportion to the model's size on disk; the recommended one has a ring."""
    canvas = Canvas(940, round(_TABLE_TOP + (len(candidates) + 1) * panels.LINE_HEIGHT + 24))
    data = candidates[0].record
    canvas.text(50, 28, "Accuracy against latency", is_bold=True, size=11)
    about = f"{data.samples:,} samples of {_cut(data.data.name)}. Disc: size on disk. Ring: recommended."
    canvas.text(50, 48, f"{about} Bars: 95% interval, and least to most of the rounds.", colour=GREY)
    latency, accuracy = _axes(candidates)
    across, up = panels.frame(canvas, _BOX, "", latency, accuracy)
    if constraints.metric_min is not None:
        middle = (_BOX.left + _BOX.right) / 2
        left = sum(across.place(_p50_ms(each)) < middle for each in candidates)
        _draw_least(canvas, up, constraints.metric_min, is_left=2 * left <= len(candidates))
    largest = max(each.size_bytes for each in candidates)
    order = sorted(range(len(candidates)), key=lambda number: -candidates[number].size_bytes)
    for number in order:
        each = candidates[number]
        radius = max(RADIUS_MIN, RADIUS_MAX * math.sqrt(each.size_bytes / max(largest, 1)))
        _draw_candidate(canvas, across, up, each, panels.COLOURS[number], radius)
        if found is not None and each.name == found.name:
            canvas.line(_ring(across.place(_p50_ms(each)), up.place(each.record.value), radius + 4), BLACK, width=2)
    colours = panels.COLOURS[: len(candidates)]
    panels.table(canvas, 50, _TABLE_TOP, _rows(candidates, constraints), colours=colours)
    return canvas.encode()


def _axes(candidates: Sequence[Measured]) -> tuple[Axis, Axis]:
    """With room around all bars."""
    times = [(each.latency[1].p50.least * 1e3, each.latency[1].p50.most * 1e3) for each in candidates]
    least, most = min(low for low, _ in times) / 1.6, max(high for _, high in times) * 1.6
    metric = candidates[0].record.metric.value.lower()
    lows, highs = zip(*((each.record.interval.low, each.record.interval.high) for each in candidates), strict=True)
    room = max(0.01, 0.15 * (max(highs) - min(lows)))
    return (
        Axis(name="p50 of a call with one row, ms, logarithmic", low=least, high=most, is_log=True),
        Axis(name=metric, low=max(0.0, min(lows) - room), high=min(1.0, max(highs) + room)),
    )


def _draw_least(canvas: Canvas, up: Scale, least: float, *, is_left: bool) -> None:
    """What the lower bound of the interval has to reach; the text is where fewer candidates are."""
    if up.low <= least <= up.high:
        at = up.place(least)
        canvas.line([(_BOX.left, at), (_BOX.right, at)], GREY, width=1, dash=5)
        x, anchor = (_BOX.left + 8, Anchor.START) if is_left else (_BOX.right - 8, Anchor.END)
        words = f"--min {least:g}, for the lower end of the bar"
        canvas.text(x, at - 5, words, colour=GREY, size=8, anchor=anchor)


def _draw_candidate(canvas: Canvas, across: Scale, up: Scale, each: Measured, colour: Colour, radius: float) -> None:
    x, y = across.place(_p50_ms(each)), up.place(each.record.value)
    canvas.disc(x, y, radius, colour, opacity=0.45)
    interval, p50 = each.record.interval, each.latency[1].p50
    canvas.line([(x, up.place(interval.low)), (x, up.place(interval.high))], colour)
    canvas.line([(across.place(p50.least * 1e3), y), (across.place(p50.most * 1e3), y)], colour)
    canvas.disc(x, y, 2.5, colour)


def _ring(x: float, y: float, radius: float) -> Sequence[Point]:
    turns = (2 * math.pi * step / 48 for step in range(49))
    return [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]


def _rows(candidates: Sequence[Measured], constraints: Constraints) -> Sequence[Sequence[str]]:
    head = ["model", candidates[0].record.metric.value.lower(), "p50, ms", "p99, ms", "memory, MiB", "size, MiB"]
    rows = [
        [
            _cut(each.name),
            f"{each.record.value:.4f}",
            f"{_p50_ms(each):.3f}",
            f"{each.latency[1].p99.median * 1e3:.3f}",
            f"{each.memory_bytes / 2**20:.1f}",
            f"{each.size_bytes / 2**20:.3f}",
            "no" if choosing.find_violations(each, constraints) else "yes",
        ]
        for each in candidates
    ]
    return [[*head, "keeps bounds"], *rows]


def _p50_ms(each: Measured) -> float:
    return each.latency[1].p50.median * 1e3


def _cut(name: str) -> str:
    start = next(at for at in range(len(name) + 1) if width_of(name[at:]) <= NAME_WIDTH)
    return name if start == 0 else f"...{name[start:]}"
