"""The variants as points, time of a call against accuracy, as a PNG; those of the Pareto front are joined by a line.

Each point has its number in the table. The scales are printed at the ends of the axes: microseconds and per mille.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from fairlead_cli.optimization import report
from fairlead_runtime.model.predictor import Array
from fairlead_runtime.optimization.record import Variant

WIDTH, HEIGHT, MARGIN = 900, 560, 70
SCALE = 4
"""Pixels of a dot of a digit."""
_FRONT, _OTHER, _INK = (31, 119, 180), (170, 170, 170), (40, 40, 40)
# Three dots by five, a row after the other.
_ROWS = {
    "0": (7, 5, 5, 5, 7),
    "1": (2, 6, 2, 2, 7),
    "2": (7, 1, 7, 4, 7),
    "3": (7, 1, 7, 1, 7),
    "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7),
    "7": (7, 1, 1, 1, 1),
    "8": (7, 5, 7, 5, 7),
    "9": (7, 5, 7, 1, 7),
}


def draw(variants: Sequence[Variant], samples: int) -> bytes:
    """To the left is faster, above is more accurate."""
    image = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    times = [each.speeds[0].best_s * 1e6 for each in variants]
    right = [1000 * each.correct / samples for each in variants]
    across, up = _axis(times), _axis(right)
    _fill(image, MARGIN, HEIGHT - MARGIN, WIDTH - 2 * MARGIN, 2, _INK)
    _fill(image, MARGIN, MARGIN, 2, HEIGHT - 2 * MARGIN, _INK)
    for value, x in zip(across, (MARGIN, WIDTH - MARGIN), strict=True):
        _write(image, f"{value:.0f}", x - 20, HEIGHT - MARGIN + 15)
    for value, y in zip(up, (HEIGHT - MARGIN, MARGIN), strict=True):
        _write(image, f"{value:.0f}", 5, y - 10)
    places = [
        (_place(t, across, MARGIN, WIDTH - MARGIN), _place(r, up, HEIGHT - MARGIN, MARGIN))
        for t, r in zip(times, right, strict=True)
    ]
    front = report.pareto(variants)
    joined = sorted(place for place, each in zip(places, variants, strict=True) if each.name in front)
    for (x, y), (next_x, next_y) in itertools.pairwise(joined):
        for part in np.linspace(0, 1, 400):
            _fill(image, round(x + part * (next_x - x)), round(y + part * (next_y - y)), 2, 2, _FRONT)
    for number, ((x, y), each) in enumerate(zip(places, variants, strict=True)):
        _fill(image, x - 6, y - 6, 13, 13, _FRONT if each.name in front else _OTHER)
        _write(image, str(number), x + 10, y - 24)
    return _png(image)


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """The ends, with some room beyond the values."""
    least, most = min(values), max(values)
    room = max(1.0, 0.1 * (most - least))
    return float(np.floor(max(0.0, least - room))), float(np.ceil(most + room))


def _place(value: float, axis: tuple[float, float], start: int, end: int) -> int:
    return round(start + (value - axis[0]) / (axis[1] - axis[0]) * (end - start))


def _fill(image: Array, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
    image[max(0, y) : y + height, max(0, x) : x + width] = colour


def _write(image: Array, digits: str, x: int, y: int) -> None:
    for column, row in _dots(digits):
        _fill(image, x + SCALE * column, y + SCALE * row, SCALE, SCALE, _INK)


def _dots(digits: str) -> Iterator[tuple[int, int]]:
    for index, digit in enumerate(digits):
        for row, bits in enumerate(_ROWS[digit]):
            yield from ((4 * index + column, row) for column in range(3) if bits & (4 >> column))


def _png(image: Array) -> bytes:
    """Source: the PNG specification, chunks IHDR, IDAT and IEND."""
    height, width, _ = image.shape
    lines = b"".join(b"\0" + line.tobytes() for line in image)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in (*chunks, (b"IEND", b"")))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
