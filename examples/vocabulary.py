"""Text to token ids and the file that keeps the mapping beside a model. No numpy, no Keras: clients use it too."""

from __future__ import annotations

import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PADDING = "<pad>"
START = "<start>"
UNKNOWN = "<unknown>"
_WORD = re.compile(r"[a-zà-ÿ']+|[0-9]+|[!?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """``words[i]`` has the id ``i``; id 0 is padding. A ``<start>`` in it begins every text (IMDB's convention)."""

    words: tuple[str, ...]

    def encode(self, text: str, length: int) -> list[int]:
        """Exactly ``length`` ids: the text's last ones, filled up with padding on the left."""
        ids = {word: number for number, word in enumerate(self.words)}
        start = [ids[START]] if START in ids else []
        return pad([*start, *(ids.get(word, ids[UNKNOWN]) for word in split(text))], length)

    def encode_all(self, texts: Iterable[str], length: int) -> list[list[int]]:
        return [self.encode(text, length) for text in texts]

    def save(self, path: pathlib.Path) -> None:
        """One word a line; the line's number, from 0, is the id."""
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")


def load(path: pathlib.Path) -> Vocabulary:
    return Vocabulary(words=tuple(path.read_text(encoding="utf-8").splitlines()))


def learn(texts: Iterable[str], *, minimum_count: int = 2) -> Vocabulary:
    """The words of the texts, most frequent first. Rarer ones become ``<unknown>``, which is so learned as well."""
    counts = Counter(word for text in texts for word in split(text))
    kept = sorted((word for word, count in counts.items() if count >= minimum_count), key=lambda w: (-counts[w], w))
    return Vocabulary(words=(PADDING, UNKNOWN, *kept))


def split(text: str) -> list[str]:
    """Lower-case words, numbers, and the two marks that carry feeling."""
    return _WORD.findall(text.lower())


def pad(ids: Sequence[int], length: int) -> list[int]:
    """Padding stands on the left: the recurrent network then ends on the text's own words, and needs no mask."""
    kept = list(ids)[-length:]
    return [0] * (length - len(kept)) + kept
