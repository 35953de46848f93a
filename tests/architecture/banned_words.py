"""Words that new text and new names don't use. Why, and what to write instead: docs/glossary.md."""

from __future__ import annotations

import re

WORDS = (
    "told",
    "tells",
    "wish",
    "wished",
    "wishes",
    "whoever",
    "whatever comes",
    "anew",
    "of which",
    "bears",
    "lets go",
    "comes to rest",
)
NAMES = frozenset(
    {
        *("of", "told", "tell", "tells", "wish", "wished", "anew", "whoever", "again", "away", "back", "over"),
        *("said", "says", "say", "heard", "looked", "meant", "missed", "whose", "well", "during"),
    }
)
"""Names of functions and variables that say nothing where they are called, in a traceback or in a search."""

_WORDS = re.compile(r"\b(" + "|".join(map(re.escape, WORDS)) + r")\b", re.IGNORECASE)


def in_text(text: str) -> list[str]:
    """The banned words in a text, in lower case."""
    return [found.lower() for found in _WORDS.findall(text)]
