"""The attributions of words as one HTML page, red for the class and blue against it. Everything in it is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from fairlead_cli.plugin import errors
from fairlead_cli.plugin.explaining import explain

_STYLE = "body{font:16px/2 sans-serif;max-width:48em;margin:2em auto}span{padding:.15em .25em;border-radius:.25em}"
_COLOURS = {True: "214,39,40", False: "31,119,180"}


def draw(found: explain.Explained, vocabulary: Sequence[str] | None) -> str:
    """A page with one paragraph for each row of the request.

    A number of an input of whole numbers is shown as its word in `vocabulary`, whose element `n` is the word of `n`.
    Positions that are as the baseline, such as padding, are not shown, as they have no weight.

    Raises:
        errors.PluginError: the input holds neither texts nor sequences of whole numbers.
    """
    rows = [_weigh(found, i, vocabulary) for i in range(len(found.targets))]
    title = f"{found.model}: {found.output}"
    paragraphs = "\n".join(_paragraph(found, i, row) for i, row in enumerate(rows))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{html.escape(title)}</h1>\n{paragraphs}\n</body></html>\n"
    )


def _weigh(found: explain.Explained, row: int, vocabulary: Sequence[str] | None) -> list[tuple[str, float]]:
    weights = found.attributions.rows[row]
    if found.words is not None:
        pairs = zip(found.words.rows[row], weights, strict=True)
        return [(str(word), float(weight)) for word, weight in pairs if word != ""]
    numbers = found.given.rows[row]
    if len(found.given.shape) != 2 or "INT" not in found.given.datatype:
        raise errors.PluginError(
            "The input holds neither texts nor sequences of whole numbers, so it has no words: use -o png or -o json."
        )
    pairs = zip(numbers, weights, strict=True)
    return [(_name(number, vocabulary), float(weight)) for number, weight in pairs if number != found.baseline]


def _name(number: int, vocabulary: Sequence[str] | None) -> str:
    if vocabulary is None or not 0 <= number < len(vocabulary):
        return str(number)
    return vocabulary[number]


def _paragraph(found: explain.Explained, row: int, words: Sequence[tuple[str, float]]) -> str:
    most = max((abs(weight) for _, weight in words if math.isfinite(weight)), default=0.0) or 1.0
    spans = " ".join(_span(word, weight, most) for word, weight in words)
    head = f"class {found.targets[row]}, score {found.scores[row]:.4f}"
    return f"<p><b>{html.escape(head)}</b><br>\n{spans}</p>"


def _span(word: str, weight: float, most: float) -> str:
    colour = f"rgba({_COLOURS[weight > 0]},{abs(weight) / most:.3f})"
    return f'<span style="background:{colour}" title="{weight:+.4f}">{html.escape(word)}</span>'
