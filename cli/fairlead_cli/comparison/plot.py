"""The candidates as a picture: accuracy against latency, with discs as large as the models, and a table."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from fairlead_cli import charts
from fairlead_cli.comparison import choosing
from fairlead_cli.comparison.choosing import Constraints, Recommendation
from fairlead_cli.comparison.figures import Measured

NAME_LENGTH = 40
"""Of a name that is drawn; of a longer one its end is."""

DISC_MAX, DISC_MIN = 44.0**2, 6.0**2
"""The area of a disc, in square points."""

_WIDTH, _TABLE_TOP = 940, 420


def draw(candidates: Sequence[Measured], constraints: Constraints, found: Recommendation | None) -> bytes:
    """A PNG. The area of a disc is in proportion to the model's size on disk; the recommended one has a ring."""
    data = candidates[0].record
    about = f"{data.samples:,} samples of {_cut(data.data.name)}. Disc: size on disk. Ring: recommended."
    height = _TABLE_TOP + (len(candidates) + 1) * charts.LINE_HEIGHT + 24
    figure = charts.new_figure(
        _WIDTH, height, "Accuracy against latency", f"{about} Bars: 95% interval, and least to most of the rounds."
    )
    axes = charts.add_axes(figure, 80, 70, 860, 360)
    axes.set_xscale("log")
    charts.mark_one_two_five(axes.xaxis)
    axes.set_xlabel("p50 of a call with one row, ms, logarithmic", color=charts.GREY, size=8)
    axes.set_ylabel(data.metric.value.lower(), color=charts.GREY, size=8)
    _set_limits(axes, candidates)
    low, high = axes.get_ylim()
    if constraints.metric_min is not None and low <= constraints.metric_min <= high:
        axes.axhline(
            constraints.metric_min,
            color=charts.GREY,
            linestyle="--",
            label=f"--min {constraints.metric_min:g}, for the lower end of the bar",
        )
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    largest = max(1, *(each.size_bytes for each in candidates))
    for each, colour in sorted(
        zip(candidates, charts.COLOURS, strict=False), key=lambda pair: pair[0].size_bytes, reverse=True
    ):
        area = max(DISC_MIN, DISC_MAX * each.size_bytes / largest)
        _draw_candidate(axes, each, colour, area, is_best=found is not None and each.name == found.name)
    charts.add_table(figure, 50, _TABLE_TOP, 890, _rows(candidates, constraints), charts.COLOURS)
    return charts.encode(figure)


def _set_limits(axes: Axes, candidates: Sequence[Measured]) -> None:
    """With room around all bars."""
    times = [(each.latency[1].p50.least * 1e3, each.latency[1].p50.most * 1e3) for each in candidates]
    axes.set_xlim(min(low for low, _ in times) / 1.6, max(high for _, high in times) * 1.6)
    lows, highs = zip(*((each.record.interval.low, each.record.interval.high) for each in candidates), strict=True)
    room = max(0.01, 0.15 * (max(highs) - min(lows)))
    axes.set_ylim(max(0.0, min(lows) - room), min(1.0, max(highs) + room))


def _draw_candidate(axes: Axes, each: Measured, colour: str, area: float, *, is_best: bool) -> None:
    x, y = _p50_ms(each), each.record.value
    interval, p50 = each.record.interval, each.latency[1].p50
    axes.scatter([x], [y], s=area, color=colour, alpha=0.45, linewidths=0)
    axes.plot([x, x], [interval.low, interval.high], color=colour)
    axes.plot([p50.least * 1e3, p50.most * 1e3], [y, y], color=colour)
    axes.plot([x], [y], ".", color=colour)
    if is_best:
        axes.scatter([x], [y], s=(area**0.5 + 8) ** 2, facecolors="none", edgecolors="black", linewidths=2)


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
    return name if len(name) <= NAME_LENGTH else f"...{name[-NAME_LENGTH:]}"
