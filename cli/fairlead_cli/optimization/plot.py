"""The variants as points, time of a call against accuracy, as a PNG; those of the Pareto front are joined by a line.

Each point has its number in the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import PercentFormatter

from fairlead_cli import charts
from fairlead_cli.optimization import report
from fairlead_runtime.optimization.record import Variant

WIDTH, HEIGHT = 720, 480


def draw(variants: Sequence[Variant], samples: int) -> bytes:
    """To the left is faster, above is more accurate."""
    figure = charts.new_figure(
        WIDTH, HEIGHT, "Accuracy against time", f"{samples:,} samples. The line joins the Pareto front."
    )
    axes = charts.add_axes(figure, 80, 70, WIDTH - 30, HEIGHT - 60)
    axes.set_xlabel("time of a call with one row, microseconds", color=charts.GREY, size=8)
    axes.set_ylabel("samples that are classified right", color=charts.GREY, size=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    front = report.pareto(variants)
    places = [(each.speeds[0].best_s * 1e6, each.correct / samples) for each in variants]
    joined = sorted(place for place, each in zip(places, variants, strict=True) if each.name in front)
    axes.plot(*zip(*joined, strict=True), color=charts.COLOURS[0], linewidth=1)
    for number, (place, each) in enumerate(zip(places, variants, strict=True)):
        axes.plot(*place, "o", color=charts.COLOURS[0] if each.name in front else charts.GREY)
        axes.annotate(str(number), place, (6, 6), textcoords="offset points", size=9)
    axes.margins(0.1)
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.005, high))
    return charts.encode(figure)
