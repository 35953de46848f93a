"""Writes the sentiment corpus out of its grammar, and keeps what is held out apart from what is learned.

A held-out review uses only held-out frames, and each of its pairs of subject and adjective is one that no training
review has. The words themselves are shared: nobody can tell what a word means without ever having read it.
"""

from __future__ import annotations

import hashlib
import pathlib
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

DATA = pathlib.Path(__file__).parent / "data"
SENTIMENTS = ("negative", "positive")  # a label is an index into this
TRAIN_REVIEWS = 6000
HELD_OUT_REVIEWS = 1500
# How a review's main sentence is built; the rest of its length is filler and a closing sentence.
KINDS: tuple[tuple[str, float], ...] = (("plain", 0.45), ("negation", 0.30), ("contrast", 0.25))
RESERVED_PAIRS_RATIO = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One labelled review; ``kind`` is its main sentence's, or ``handwritten``."""

    text: str
    label: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    train: tuple[Review, ...]
    held_out: tuple[Review, ...]
    handwritten_held_out: tuple[Review, ...]


def build(*, seed: int = 7, train_reviews: int = TRAIN_REVIEWS, held_out_reviews: int = HELD_OUT_REVIEWS) -> Corpus:
    """The same seed gives the same corpus. Labels are balanced; no text occurs twice, within a part or across parts."""
    grammar = yaml.safe_load((DATA / "grammar.yaml").read_text(encoding="utf-8"))
    chance = random.Random(seed)
    taken: set[str] = set()
    held_out = _reviews(_Writer(grammar, chance, part="held_out"), held_out_reviews, taken)
    train = _reviews(_Writer(grammar, chance, part="train"), train_reviews, taken)
    handwritten = _handwritten()
    chance.shuffle(train)
    return Corpus(
        # Every second one by line is learned, so that both halves have both labels and like subjects.
        train=(*train, *handwritten[::2]),
        held_out=tuple(held_out),
        handwritten_held_out=handwritten[1::2],
    )


def is_reserved(aspect: str, adjective: str) -> bool:
    """Whether the pair is kept for held-out reviews: a fixed fifth of all pairs, by hash."""
    first = hashlib.sha256(f"{aspect}|{adjective}".encode()).digest()[0]
    return first < 256 * RESERVED_PAIRS_RATIO


def _reviews(writer: _Writer, count: int, taken: set[str]) -> list[Review]:
    reviews: list[Review] = []
    while len(reviews) < count:
        review = writer.review(label=len(reviews) % 2)
        if review.text not in taken:
            taken.add(review.text)
            reviews.append(review)
    return reviews


def _handwritten() -> tuple[Review, ...]:
    lines = (DATA / "handwritten.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines]
    return tuple(Review(text=text, label=SENTIMENTS.index(name), kind="handwritten") for name, text in pairs)


class _Writer:
    """Writes reviews of one part (train or held_out)."""

    def __init__(self, grammar: Mapping[str, Any], chance: random.Random, *, part: str) -> None:
        self._grammar = grammar
        self._chance = chance
        self._part = part

    def review(self, *, label: int) -> Review:
        kind = self._chance.choices([name for name, _ in KINDS], [weight for _, weight in KINDS])[0]
        domain = self._chance.choice(sorted(self._grammar["domains"]))
        sentences = [self._dressed(self._sentence(kind, domain, label), domain)]
        if self._chance.random() < 0.35:
            sentences.append(self._sentence("closing", domain, label))
        if self._chance.random() < 0.5:
            sentences.insert(self._chance.randrange(len(sentences) + 1), self._chance.choice(self._grammar["fillers"]))
        text = ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences) + "."
        return Review(text=re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text), label=label, kind=kind)

    def _dressed(self, sentence: str, domain: str) -> str:
        """Puts words without a feeling before and behind, so that no frame is known by its place alone."""
        leads, tails = self._grammar["leads"][self._part], self._grammar["tails"][self._part]
        before = f"{self._chance.choice(leads)} " if self._chance.random() < 0.4 else ""
        after = f" {self._chance.choice(tails).format(thing=domain)}" if self._chance.random() < 0.3 else ""
        return f"{before}{sentence}{after}"

    def _sentence(self, kind: str, domain: str, label: int) -> str:
        frame: str = self._chance.choice(self._grammar["frames"][kind][self._part])
        while True:
            slots = self._slots(domain, label)
            if self._fits(frame, slots):
                return frame.format_map(slots)

    def _slots(self, domain: str, label: int) -> dict[str, str]:
        grammar, pick = self._grammar, self._chance.choice
        own, other = SENTIMENTS[label], SENTIMENTS[1 - label]
        first, second = self._chance.sample(grammar["domains"][domain]["aspects"], 2)
        return {
            "a": first,
            "b": second,
            "thing": domain,
            "S": pick(grammar["adjectives"][own]),
            "O": pick(grammar["adjectives"][other]),
            "D": pick(grammar["domains"][domain][own]),
            "C": pick(grammar["domains"][domain][other]),
            "V": pick(grammar["verdicts"][own]),
            "is": pick(grammar["copulas"]),
            "isnt": pick(grammar["negations"]),
            "i": pick(grammar["intensifiers"]),
            "h": pick(grammar["hedges"]),
        }

    def _fits(self, frame: str, slots: Mapping[str, str]) -> bool:
        """Held-out sentences have only reserved pairs, training sentences none."""
        return all(is_reserved(*pair) is (self._part == "held_out") for pair in _pairs(frame, slots))


def _pairs(frame: str, slots: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    aspects = [slots[name] for name in ("a", "b", "thing") if f"{{{name}}}" in frame]
    adjectives = [slots[name] for name in ("S", "O") if f"{{{name}}}" in frame]
    return [(aspect, adjective) for aspect in aspects for adjective in adjectives]


def main() -> None:
    """Prints the whole corpus: part, kind, label, text."""
    corpus = build()
    for part in ("train", "held_out", "handwritten_held_out"):
        for review in getattr(corpus, part):
            sys.stdout.write(f"{part}\t{review.kind}\t{SENTIMENTS[review.label]}\t{review.text}\n")


if __name__ == "__main__":
    main()
