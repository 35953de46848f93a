"""The corpus is large, balanced and varied, and nothing held out can have been learned by heart."""

from __future__ import annotations

import collections
import re
from typing import Any

import numpy as np
import pytest
import yaml
from examples import sentiment_corpus, sentiment_data, vocabulary


@pytest.fixture(scope="module")
def corpus() -> sentiment_corpus.Corpus:
    return sentiment_corpus.build()


def _grammar() -> Any:  # plain YAML, read for its texts
    return yaml.safe_load((sentiment_corpus.DATA / "grammar.yaml").read_text())


def test_it_has_thousands_of_reviews_in_equal_parts(corpus: sentiment_corpus.Corpus) -> None:
    assert len(corpus.train) >= 6000
    assert len(corpus.held_out) >= 1500
    assert len(corpus.handwritten_held_out) >= 70
    for part in (corpus.train, corpus.held_out, corpus.handwritten_held_out):
        positive = sum(review.label for review in part) / len(part)
        assert positive == pytest.approx(0.5, abs=0.01)


def test_no_text_occurs_twice_within_or_across_the_parts(corpus: sentiment_corpus.Corpus) -> None:
    texts = [
        review.text.lower() for part in (corpus.train, corpus.held_out, corpus.handwritten_held_out) for review in part
    ]

    assert len(set(texts)) == len(texts)


def test_held_out_frames_are_not_learned_from() -> None:
    for kind, parts in _grammar()["frames"].items():
        assert set(parts["train"]).isdisjoint(parts["held_out"]), kind
    for group in ("leads", "tails"):
        parts = _grammar()[group]
        assert set(parts["train"]).isdisjoint(parts["held_out"]), group


def test_held_out_pairs_of_aspect_and_adjective_are_not_learned_from(corpus: sentiment_corpus.Corpus) -> None:
    """Looked up in the texts themselves: an adjective that stands right before its subject."""
    grammar = _grammar()
    aspects = {aspect for name, domain in grammar["domains"].items() for aspect in (*domain["aspects"], name)}
    adjectives = {word for words in grammar["adjectives"].values() for word in words}
    longest = sorted(aspects, key=len, reverse=True)  # "camera work" is not "camera"
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, adjectives))}) ({'|'.join(map(re.escape, longest))})\b", re.I)

    def pairs(reviews: tuple[sentiment_corpus.Review, ...]) -> set[tuple[str, str]]:
        return {
            (adjective.lower(), aspect.lower())
            for review in reviews
            if review.kind != "handwritten"
            for adjective, aspect in pattern.findall(review.text)
        }

    learned, judged = pairs(corpus.train), pairs(corpus.held_out)
    assert len(learned) > 300
    assert len(judged) > 100
    assert learned.isdisjoint(judged)


def test_words_alone_do_not_give_the_label_away(corpus: sentiment_corpus.Corpus) -> None:
    """Every adjective occurs under both labels: negation and contrast see to it."""
    labels = collections.defaultdict(set)
    for review in corpus.train:
        for word in vocabulary.split(review.text):
            labels[word].add(review.label)
    adjectives = {word for words in _grammar()["adjectives"].values() for word in words}
    single = {word for word in adjectives if re.fullmatch("[a-z]+", word)}

    assert {word for word in single if len(labels[word]) != 2} == set()


def test_each_seed_gives_the_same_corpus_again(corpus: sentiment_corpus.Corpus) -> None:
    assert sentiment_corpus.build() == corpus
    assert sentiment_corpus.build(seed=8) != corpus


def test_no_slot_of_a_frame_is_left_open(corpus: sentiment_corpus.Corpus) -> None:
    for review in (*corpus.train, *corpus.held_out):
        assert not re.search(r"[{}]|\b[Aa] [aeiou]", review.text), review.text


def test_ids_fit_the_vocabulary_and_hiding_words_leaves_padding_alone() -> None:
    data = sentiment_data.load()
    varied, labels = data.vary(data.train_inputs, data.train_labels)

    assert data.train_inputs.min() == 0
    assert max(data.train_inputs.max(), data.held_out_inputs.max()) < len(data.vocabulary)
    np.testing.assert_array_equal(varied == 0, data.train_inputs == 0)
    np.testing.assert_array_equal(labels, data.train_labels)
    hidden = (varied != data.train_inputs).sum() / (data.train_inputs != 0).sum()
    assert hidden == pytest.approx(sentiment_data.HIDDEN_RATIO, abs=0.01)
