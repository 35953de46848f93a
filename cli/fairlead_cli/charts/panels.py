"""The parts of a chart: a panel of curves, a panel of points, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_cli.charts.canvas import BLACK, GREY, LETTER, PALE, Anchor, Canvas, Colour, Point, width_of
from fairlead_cli.charts.scales import Scale

# Source: M. Okabe and K. Ito, Color Universal Design (2008): colours that people with a weak sense of them tell apart.
COLOURS: Sequence[Colour] = (
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)),
    *((230, 159, 0), (86, 180, 233), (90, 90, 90), (130, 80, 30)),
)
LINE_HEIGHT = 18.0
_MARK = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A place on the canvas, in points."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What an axis shows. By decades if `is_log`."""

    name: str
    low: float
    high: float
    is_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    name: str
    points: Sequence[Point]
    colour: Colour
    dash: float = 0.0


def frame(canvas: Canvas, box: Box, title: str, x: Axis, y: Axis) -> tuple[Scale, Scale]:
    """Title, axes with their marks and names; the name of the y-axis stands above it."""
    across = Scale(low=x.low, high=x.high, start=box.left, end=box.right, is_log=x.is_log)
    up = Scale(low=y.low, high=y.high, start=box.bottom, end=box.top, is_log=y.is_log)
    for value, name in up.marks():
        at = up.place(value)
        canvas.line([(box.left, at), (box.right, at)], PALE, width=0.8)
        canvas.text(box.left - 6, at + LETTER * 0.45, name, anchor=Anchor.END, colour=GREY, size=8)
    for value, name in across.marks():
        at = across.place(value)
        canvas.line([(at, box.bottom), (at, box.bottom + _MARK)], GREY, width=0.8)
        canvas.text(at, box.bottom + 16, name, anchor=Anchor.MIDDLE, colour=GREY, size=8)
    canvas.line([(box.left, box.top), (box.left, box.bottom), (box.right, box.bottom)], GREY, width=1)
    canvas.text(box.left, box.top - 26, title, is_bold=True)
    canvas.text(box.left, box.top - 9, y.name, colour=GREY, size=8)
    canvas.text((box.left + box.right) / 2, box.bottom + 33, x.name, anchor=Anchor.MIDDLE, colour=GREY, size=8)
    return across, up


def curves(canvas: Canvas, scales: tuple[Scale, Scale], shown: Sequence[Curve]) -> None:
    across, up = scales
    for curve in shown:
        placed = [(across.place(x), up.place(y)) for x, y in curve.points]
        canvas.line(placed, curve.colour, width=2, dash=curve.dash)


def legend(canvas: Canvas, left: float, top: float, shown: Sequence[Curve]) -> None:
    """Below each other: a stroke in the colour of each curve, and its name."""
    for number, curve in enumerate(shown):
        y = top + number * LINE_HEIGHT
        canvas.line([(left, y), (left + 22, y)], curve.colour, width=3, dash=curve.dash)
        canvas.text(left + 30, y + LETTER / 2, curve.name)


def table(
    canvas: Canvas, left: float, top: float, rows: Sequence[Sequence[str]], *, colours: Sequence[Colour] = ()
) -> float:
    """The first row is the head, and the first column is left-aligned. Returns the width.

    `colours` are of the names in the first column, from the second row on.
    """
    widths = [max(width_of(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        y = top + number * LINE_HEIGHT
        right = left
        for column, words in enumerate(row):
            is_name = column == 0
            right += widths[column] + (0 if is_name else 2 * LINE_HEIGHT)
            colour = GREY if number == 0 else colours[number - 1] if is_name and colours else BLACK
            at, anchor = (left, Anchor.START) if is_name else (right, Anchor.END)
            canvas.text(at, y, words, colour=colour, anchor=anchor, is_bold=is_name and number > 0)
    width = sum(widths) + 2 * LINE_HEIGHT * (len(widths) - 1)
    canvas.line([(left, top + 6), (left + width, top + 6)], GREY, width=0.8)
    return width
