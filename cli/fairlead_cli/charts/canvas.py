"""A white image on which lines, areas, discs and words are drawn, with smooth edges.

Lengths are points; `SCALE` pixels are one point, so that a chart is sharp on a screen of high resolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from fairlead_cli.charts import glyphs, png

SCALE = 2
LETTER = 9.0
"""The height of a capital, in points, of ordinary text."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = np.ndarray[Any, np.dtype[np.float32]]

BLACK: Colour = (30, 30, 30)
GREY: Colour = (110, 110, 110)
PALE: Colour = (222, 222, 222)


class Anchor(StrEnum):
    """Which point of a text is given."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


class Canvas:
    """x grows to the right and y downwards, from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._pixels: Pixels = np.full((height * SCALE, width * SCALE, 3), 255.0, dtype=np.float32)

    def line(self, points: Sequence[Point], colour: Colour, *, width: float = 1.5, dash: float = 0.0) -> None:
        """Joined by straight lines with round ends; with `dash`, strokes of that length and gaps of the same."""
        pieces = _cut(points, dash) if dash else [points]
        for piece in pieces:
            self._stroke(piece, colour, width)

    def area(self, left: float, top: float, right: float, bottom: float, colour: Colour, *, opacity: float = 1) -> None:
        """A filled rectangle."""
        rows, columns = _span(top, bottom), _span(left, right)
        self._mix(rows, columns, np.float32(opacity), colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, opacity: float = 1) -> None:
        rows, columns = self._box([(x, y)], radius + 1)
        distance = _distances(rows, columns, (x, y), (x, y))
        self._mix(rows, columns, opacity * np.clip(radius * SCALE + 0.5 - distance, 0, 1), colour)

    def text(  # noqa: PLR0913 - where, what and how
        self,
        x: float,
        y: float,
        words: str,
        *,
        colour: Colour = BLACK,
        anchor: Anchor = Anchor.START,
        size: float = LETTER,
        is_bold: bool = False,
    ) -> None:
        """One line of text whose base line is at `y`."""
        strokes, _ = glyphs.place(words)
        unit = size / glyphs.CAPITAL
        shift = {Anchor.START: 0.0, Anchor.MIDDLE: 0.5, Anchor.END: 1.0}[anchor] * width_of(words, size)
        for stroke in strokes:
            placed = [(x - shift + px * unit, y - (py - glyphs.BASE) * unit) for px, py in stroke]
            self._stroke(placed, colour, size * (0.19 if is_bold else 0.125))

    def encode(self) -> bytes:
        """The image as PNG."""
        height, width, _ = self._pixels.shape
        return png.encode(width, height, np.rint(self._pixels).astype(np.uint8).tobytes())

    def _stroke(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        rows, columns = self._box(points, width + 1)
        ends = list(itertools.pairwise(points)) or [(points[0], points[0])]
        nearest = np.full((rows.stop - rows.start, columns.stop - columns.start), np.inf, dtype=np.float32)
        for first, second in ends:
            part_rows, part_columns = self._box((first, second), width + 1)
            view = nearest[
                part_rows.start - rows.start : part_rows.stop - rows.start,
                part_columns.start - columns.start : part_columns.stop - columns.start,
            ]
            np.minimum(view, _distances(part_rows, part_columns, first, second), out=view)
        self._mix(rows, columns, np.clip(width * SCALE / 2 + 0.5 - nearest, 0, 1), colour)

    def _box(self, points: Sequence[Point], margin: float) -> tuple[slice, slice]:
        """The pixels around the points, within the image."""
        height, width, _ = self._pixels.shape
        xs, ys = [x for x, _ in points], [y for _, y in points]
        top, bottom = (min(max(round(y * SCALE), 0), height) for y in (min(ys) - margin, max(ys) + margin))
        left, right = (min(max(round(x * SCALE), 0), width) for x in (min(xs) - margin, max(xs) + margin))
        return slice(top, bottom), slice(left, right)

    def _mix(self, rows: slice, columns: slice, share: Any, colour: Colour) -> None:
        view = self._pixels[rows, columns]
        part = np.broadcast_to(share, view.shape[:2])[:, :, np.newaxis]
        view += part * (np.array(colour, dtype=np.float32) - view)


def width_of(words: str, size: float = LETTER) -> float:
    """The width of a line of text, in points."""
    _, width = glyphs.place(words)
    return width * size / glyphs.CAPITAL


def _span(low: float, high: float) -> slice:
    return slice(max(0, round(low * SCALE)), max(0, round(high * SCALE)))


def _distances(rows: slice, columns: slice, first: Point, second: Point) -> Pixels:
    """From the middle of each pixel to the line between two points, in pixels."""
    ys = np.arange(rows.start, rows.stop, dtype=np.float32)[:, np.newaxis] + 0.5
    xs = np.arange(columns.start, columns.stop, dtype=np.float32)[np.newaxis, :] + 0.5
    (x1, y1), (x2, y2) = ((x * SCALE, y * SCALE) for x, y in (first, second))
    dx, dy = x2 - x1, y2 - y1
    along = ((xs - x1) * dx + (ys - y1) * dy) / max(dx * dx + dy * dy, 1e-9)
    along = np.clip(along, 0, 1)
    found: Pixels = np.hypot(xs - (x1 + along * dx), ys - (y1 + along * dy)).astype(np.float32)
    return found


def _cut(points: Sequence[Point], dash: float) -> Sequence[Sequence[Point]]:
    """The strokes of a dashed line."""
    pieces: list[list[Point]] = [[points[0]]]
    left, is_drawn = dash, True
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        length, at = float(np.hypot(x2 - x1, y2 - y1)), 0.0
        while length - at > left:
            at += left
            point = (x1 + (x2 - x1) * at / length, y1 + (y2 - y1) * at / length)
            if is_drawn:
                pieces[-1].append(point)
            else:
                pieces.append([point])
            left, is_drawn = dash, not is_drawn
        left -= length - at
        if is_drawn:
            pieces[-1].append((x2, y2))
    return [piece for piece in pieces if len(piece) > 1]
