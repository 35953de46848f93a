"""Draws each case as two panels of bars, requests a second and processor time a request, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.peers import figures
from benchmarks.peers.figures import Case, Round, Spread

_LABEL, _BAR, _VALUE, _LINE, _HEAD = 210, 300, 130, 20, 46
_PANELS = (("rate", "requests/s (more is better)"), ("processor_us", "processor µs a request (less is better)"))
_OURS, _OTHERS = "#1f77b4", "#999999"


def draw(measured: Mapping[Case, Sequence[Round]], titles: Mapping[str, str]) -> str:
    """Bars are medians, the thin lines go from the smallest to the largest round. Each panel has its own scale."""
    parts, top = [], 10
    for case, rounds in measured.items():
        names = [name for name in titles if any(name in each for each in rounds)]
        parts.append(_text(10, top + 14, str(case), weight="bold"))
        for at, (figure, label) in enumerate(_PANELS):
            found = [(name, figures.absolute(rounds, name, figure)) for name in names]
            shown = [(name, each) for name, each in found if each is not None]
            parts += _panel(shown, titles, label, left=10 + at * (_LABEL + _BAR + _VALUE), top=top + 20)
        top += _HEAD + len(names) * _LINE + 10
    width = 10 + len(_PANELS) * (_LABEL + _BAR + _VALUE)
    size = f'width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _panel(
    shown: Sequence[tuple[str, Spread]], titles: Mapping[str, str], label: str, *, left: int, top: int
) -> list[str]:
    parts = [_text(left + _LABEL, top + 14, label)]
    most = max((each.most for _, each in shown), default=1.0) or 1.0
    for line, (name, each) in enumerate(shown):
        y = top + 20 + line * _LINE
        start, end = (left + _LABEL + _BAR * value / most for value in (each.least, each.most))
        bar = f'x="{left + _LABEL}" y="{y + 2}" width="{_BAR * each.median / most:.1f}"'
        colour = _OURS if name in ("replica", "gateway") else _OTHERS
        parts += [
            _text(left + _LABEL - 8, y + 13, titles[name], anchor="end"),
            f'<rect {bar} height="14" fill="{colour}"/>',
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y + 9}" y2="{y + 9}" stroke="black"/>',
            _text(end + 6, y + 13, f"{each.median:,.0f}"),
        ]
    return parts


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
