"""The pixels of a PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def decode(png: bytes) -> np.ndarray[Any, Any]:
    """Height by width by 3, of 8-bit RGB."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def count(pixels: np.ndarray[Any, Any], colour: str) -> int:
    """The pixels that have exactly this colour, as ``#0072b2``."""
    return int((pixels == tuple(bytes.fromhex(colour.removeprefix("#")))).all(axis=2).sum())
