"""Whether a JSON text may hold `true` or `false`, found without looking at its values one by one.

To Python a boolean is a number too, so numbers are looked through for one. That takes half as long as decoding them; to
know that a text has none takes a hundredth.
"""

from __future__ import annotations

LETTERS_MAX = 64
"""So many times a letter of a word is looked at; texts with more are taken to hold one. Numbers have none of them."""

SHORT_BYTES = 1024
"""A text of so many bytes is searched for the words at once; that takes less than to look at each letter."""

_WORDS = ((b"u", b"true", 2), (b"f", b"false", 0))
"""A letter, the word and where in it the letter is. A search for one byte is many times as fast as one for a word."""

_SPACES_MAX = 8


def may_hold(text: bytes, *, only_in_lists: bool = False) -> bool:
    """False where no value is a boolean, or with `only_in_lists` none but members of objects.

    It may be True without one: words within strings count, short texts with members that are booleans, and texts with
    many of these letters.
    """
    if len(text) <= SHORT_BYTES:
        return b"true" in text or b"false" in text
    for letter, word, offset in _WORDS:
        at = text.find(letter)
        for _ in range(LETTERS_MAX):
            if at < 0:
                break
            start = max(0, at - offset)
            if text.startswith(word, start) and not (only_in_lists and _is_member(text, start)):
                return True
            at = text.find(letter, at + 1)
        else:
            return True
    return False


def _is_member(text: bytes, start: int) -> bool:
    return text[max(0, start - _SPACES_MAX) : start].rstrip().endswith(b":")
