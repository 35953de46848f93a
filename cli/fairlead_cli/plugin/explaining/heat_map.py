"""The attributions of images as one PNG: each image beside its heat map, red for the class and blue against it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from fairlead_cli.plugin import errors
from fairlead_cli.plugin.explaining import explain

SIDE_MIN = 280
"""An image is enlarged by a whole number, so that its longer side has at least so many pixels."""

SIDE_MAX = 2048
CHANNELS_MAX = 4
GAP = 8
_WHITE = (255, 255, 255)
_SHADE = 0.15
"""How dark the image is under its heat map."""

Grid = list[list[float]]
Colour = tuple[int, int, int]


def draw(found: explain.Explained) -> bytes:
    """A PNG with one line for each row of the request.

    Raises:
        errors.PluginError: the input is no image.
    """
    height, width = _size(found)
    scale = max(1, -(-SIDE_MIN // max(height, width)))
    lines: list[list[Colour]] = []
    for row, weights in zip(found.given.rows, found.attributions.rows, strict=True):
        image = _normalise(_grid(row, found.given.shape, height, width, is_sum=False))
        heat = _grid(weights, found.given.shape, height, width, is_sum=True)
        if lines:
            lines += [[_WHITE] * (2 * width * scale + GAP)] * GAP
        for picture, hot in zip(image, _colour(image, heat), strict=True):
            left = [colour for value in picture for colour in [_grey(value)] * scale]
            right = [colour for value in hot for colour in [value] * scale]
            lines += [[*left, *[_WHITE] * GAP, *right]] * scale
    pixels = bytes(value for line in lines for colour in line for value in colour)
    from PIL import Image  # other commands of the plugin start without it

    content = io.BytesIO()
    Image.frombytes("RGB", (len(lines[0]), len(lines)), pixels).save(content, "PNG")
    return content.getvalue()


def _size(found: explain.Explained) -> tuple[int, int]:
    """Height and width of an image in the input."""
    shape = found.given.shape[1:]
    size: tuple[int, int] | None = None
    if found.given.datatype == "BYTES":
        size = None
    elif len(shape) == 3:
        size = (shape[1], shape[2]) if _is_channels_first(shape) else (shape[0], shape[1])
    elif len(shape) == 2:
        size = (shape[0], shape[1])
    elif len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        size = (math.isqrt(shape[0]),) * 2
    if size is None:
        raise errors.PluginError(
            "The input is no image, so it has no heat map: its rows must have the shape [height, width], "
            "[height, width, channels], [channels, height, width] or [pixels] of a square. Use -o html or -o json."
        )
    if max(size) > SIDE_MAX:
        raise errors.PluginError(
            f"The image has {size[0]} by {size[1]} pixels; at most {SIDE_MAX} are drawn. Use -o json."
        )
    return size


def _is_channels_first(shape: Sequence[int]) -> bool:
    return shape[0] <= CHANNELS_MAX < shape[2]


def _grid(row: Sequence[float], shape: Sequence[int], height: int, width: int, *, is_sum: bool) -> Grid:
    """One number for each pixel: the sum over its channels, or their mean."""
    channels = len(row) // (height * width)
    part = 1.0 if is_sum else 1.0 / channels
    if len(shape) == 4 and _is_channels_first(shape[1:]):
        planes = [row[i * height * width : (i + 1) * height * width] for i in range(channels)]
        flat = [sum(values) * part for values in zip(*planes, strict=True)]
    else:
        flat = [sum(row[i : i + channels]) * part for i in range(0, len(row), channels)]
    return [flat[i : i + width] for i in range(0, len(flat), width)]


def _normalise(image: Grid) -> Grid:
    """From 0, the least value, to 1, the greatest."""
    low, high = min(map(min, image)), max(map(max, image))
    return [[(value - low) / (high - low) if high > low else 0.0 for value in line] for line in image]


def _grey(value: float) -> Colour:
    level = round(255 * value)
    return (level, level, level)


def _colour(image: Grid, heat: Grid) -> list[list[Colour]]:
    """The heat map over a pale copy of the image; the strongest attribution has the full colour."""
    most = max(abs(value) for line in heat for value in line) or 1.0
    return [
        [_mix(pixel, value / most) for pixel, value in zip(pixels, values, strict=True)]
        for pixels, values in zip(image, heat, strict=True)
    ]


def _mix(pixel: float, heat: float) -> Colour:
    pale = 255 * (1 - _SHADE * pixel)
    share = abs(heat)
    red, green, blue = (214, 39, 40) if heat > 0 else (31, 119, 180)
    mixed = [round(pale * (1 - share) + colour * share) for colour in (red, green, blue)]
    return (mixed[0], mixed[1], mixed[2])
