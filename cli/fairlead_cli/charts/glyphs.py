"""The letters of a chart, as strokes of a pen.

Each point of a stroke is two hexadecimal digits: x from the left, and y, which is 3 on the base line, 9 at the height
of an x and c at the height of a capital. A blank separates strokes. The letters were drawn for this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

BASE = 3
CAPITAL = 9
"""The height of a capital over the base line, in the units of the points."""

SPACE = 4
GAP = 3
"""The width of a blank, and between two letters."""

Stroke = tuple[tuple[int, int], ...]

_DRAWN: Mapping[str, str] = {
    "0": "2343656a4c2c0a0523",
    "1": "0a3c33 1353",
    "2": "0a0b2c4c6b69680363",
    "3": "0c6c383848676543230405",
    "4": "434c0666",
    "5": "5c0c084867654413130405",
    "6": "6b4c2c0a0523436567492907",
    "7": "0c6c23",
    "8": "280a0b1c5c6b6a482807041353646748",
    "9": "041343656a4c2c0a08264668",
    "A": "033c63 1656",
    "B": "030c4c6b694808 4867644303",
    "C": "6a4c2c0a05234365",
    "D": "030c3c6a653303",
    "E": "6c0c0363 0848",
    "F": "6c0c03 0848",
    "G": "6a4c2c0a0523436567 6737",
    "H": "0c03 6c63 0868",
    "I": "0c03",
    "J": "4c45331304",
    "K": "0c03 6c07 2863",
    "L": "0c0353",
    "M": "030c376c63",
    "N": "030c636c",
    "O": "2353757a5c2c0a0523",
    "P": "030c4c6b684707",
    "Q": "2353757a5c2c0a0523 4672",
    "R": "030c4c6b684707 3763",
    "S": "6b4c2c0a0928486664431304",
    "T": "0c6c 3c33",
    "U": "0c052343656c",
    "V": "0c336c",
    "W": "0c234b638c",
    "X": "0c63 036c",
    "Y": "0c386c 3833",
    "Z": "0c6c0363",
    "a": "5849290705234354 5953",
    "b": "0c03 0819395755331304",
    "c": "5849290705234354",
    "d": "5849290705234354 5c53",
    "e": "06565749290705234354",
    "f": "4c2c1b13 0939",
    "g": "5849290705234354 5952401001",
    "h": "0c03 0729395853",
    "i": "0903 0b0c",
    "j": "29211000 2b2c",
    "k": "0c03 5906 2753",
    "l": "0c03",
    "m": "0903 0719294743 4769798783",
    "n": "0903 0729395853",
    "o": "233355573929070523",
    "p": "0900 0819395755331304",
    "q": "5849290705234354 5950",
    "r": "0903 072939",
    "s": "58491908164654431304",
    "t": "1c142343 0939",
    "u": "0905233355 5953",
    "v": "093369",
    "w": "0923496389",
    "x": "0953 0359",
    "y": "0933 6920",
    "z": "09590353",
    ".": "0304",
    ",": "1401",
    ":": "0304 0809",
    ";": "1401 1819",
    "-": "0747",
    "+": "0767 3a34",
    "±": "0868 3b35 0363",
    "=": "0666 0969",
    "\N{MULTIPLICATION SIGN}": "0559 0955",
    "%": "6c03 0a1b2a190a 4556654445",
    "/": "025c",
    "\\": "0c52",
    "(": "2d0a0421",
    ")": "0d2a2401",
    "[": "2d0d0121",
    "]": "0d2d2101",
    "<": "6a0764",
    ">": "0a6704",
    "\N{EN DASH}": "0767",
    "_": "0262",
    "|": "0d01",
    "'": "0c0a",
    '"': "0c0a 2c2a",
    "!": "0c06 0304",
    "?": "0a0b2c4c6b694836 3334",
    "*": "3b37 1a58 185a",
    "~": "061727475668",
    "#": "1313 233c 534c",
    "→": "0767 4967 4567",
    "≤": "6b0965 0363",
    "≥": "0b6905 0363",
    "µ": "0900 0905233355 5953",
}


def _parse(strokes: str) -> Sequence[Stroke]:
    return [
        tuple((int(stroke[i], 16), int(stroke[i + 1], 16)) for i in range(0, len(stroke), 2))
        for stroke in strokes.split()
    ]


STROKES: Mapping[str, Sequence[Stroke]] = {letter: _parse(strokes) for letter, strokes in _DRAWN.items()}

UNKNOWN: Sequence[Stroke] = _parse("030c5c5303")
"""A frame, for a letter that isn't drawn here."""


def place(words: str) -> tuple[Sequence[Stroke], int]:
    """The strokes of a line of text, beside each other, and its width."""
    strokes: list[Stroke] = []
    right = 0
    for letter in words:
        if letter == " ":
            right += SPACE
            continue
        found = STROKES.get(letter, UNKNOWN)
        strokes += [tuple((x + right, y) for x, y in stroke) for stroke in found]
        right += max(x for stroke in found for x, _ in stroke) + GAP
    return strokes, max(0, right - GAP)
