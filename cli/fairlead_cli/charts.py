"""What the charts of the commands and of the examples have in common: size, colours, a table, and the form PNG.

matplotlib draws into memory: nothing here asks for a display.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

POINTS_PER_INCH = 72
DOTS_PER_INCH = 144
GREY = "#6e6e6e"
# Source: M. Okabe and K. Ito, Color Universal Design (2008): colours that people with a weak sense of them tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a", "#82501e")
LINE_HEIGHT = 18
"""Of a table, in points."""


def new_figure(width: float, height: float, title: str, about: str = "") -> Figure:
    """An empty figure of this size, in points; its title, and below that a line about it, are at the left edge."""
    figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=DOTS_PER_INCH)
    # Names of models and files may have dollar signs, which are no formulas.
    figure.text(0.03, 1 - 24 / height, title, weight="bold", size=11, parse_math=False)
    figure.text(0.03, 1 - 44 / height, about, color=GREY, size=9, parse_math=False)
    return figure


def add_axes(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes with this place, in points from the upper left corner of the figure."""
    width, height = (inches * POINTS_PER_INCH for inches in figure.get_size_inches())
    axes = figure.add_axes((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    axes.tick_params(labelsize=8, colors=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dedede", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def mark_one_two_five(axis: Axis) -> None:
    """Marks of a logarithmic axis over few decades: 1, 2, 5 and their multiples by powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def add_table(
    figure: Figure, left: float, top: float, right: float, rows: Sequence[Sequence[str]], colours: Sequence[str] = ()
) -> None:
    """The first row is the head, and the first column is left-aligned.

    ``colours`` are of the names in the first column, from the second row on. The place is as for ``add_axes``.
    """
    axes = add_axes(figure, left, top, right, top + LINE_HEIGHT * len(rows))
    axes.set_axis_off()
    table = axes.table([list(row) for row in rows], edges="open", bbox=Bbox.unit(), cellLoc="right")
    table.auto_set_font_size(False)
    table.auto_set_column_width(list(range(len(rows[0]))))
    for (row, column), cell in table.get_celld().items():
        words = cell.get_text()
        words.set_fontsize(9)
        words.set_parse_math(False)
        cell.PAD = 0
        if row == 0:
            words.set_color(GREY)
        elif column == 0 and colours:
            words.set_color(colours[row - 1])
        if column == 0:
            words.set_horizontalalignment("left")


def encode(figure: Figure) -> bytes:
    """The figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
