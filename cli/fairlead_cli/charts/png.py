"""Pixels as a file in the format PNG. The standard library alone: the kubectl plugin draws with it too."""

from __future__ import annotations

import struct
import zlib


def encode(width: int, height: int, pixels: bytes) -> bytes:
    """An image of 8 bits for each of red, green and blue; `pixels` has them line by line.

    Source: https://www.w3.org/TR/png-3/ sections 5, 9 and 11; the filter of each line is 0, None.
    """
    line = 3 * width
    if len(pixels) != line * height:
        raise ValueError(f"{width} by {height} pixels are {line * height} bytes, not {len(pixels)}")
    raw = b"".join(b"\x00" + pixels[start : start + line] for start in range(0, line * height, line))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
