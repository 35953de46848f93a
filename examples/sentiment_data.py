"""Sentiment as token ids: the corpus written for this project, or IMDB's 50,000 reviews."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from examples import dataset, sentiment_corpus, vocabulary

WRITTEN = "written"
IMDB = "imdb"
WRITTEN_TOKENS = 32  # 25 of 7,640 reviews are longer and lose their beginning
IMDB_TOKENS = 80
IMDB_WORDS = 20000
# A part of the words is hidden while learning, so that the network doesn't lean on single words of a frame it knows.
HIDDEN_RATIO = 0.08
# Source: keras.datasets.imdb.load_data: ids 1 and 2 are start and unknown, a word's rank is raised by 3.
_IMDB_SPECIAL = (vocabulary.PADDING, vocabulary.START, vocabulary.UNKNOWN, "<unused>")


def load(source: str = WRITTEN) -> dataset.Dataset:
    """``source`` is ``written``, ``imdb`` (downloaded by Keras) or the path of an ``imdb.npz``.

    Beside an ``imdb.npz`` its ``imdb_word_index.json`` is expected.

    Raises:
        DataUnavailable: the data can't be had here.
    """
    if source == WRITTEN:
        return _written()
    if source == IMDB:
        return _imdb("IMDB, its own test half held out", *_downloaded())
    path = pathlib.Path(source)
    return _imdb(f"IMDB layout from {path.name}", *_from_npz(path))


def _written() -> dataset.Dataset:
    corpus = sentiment_corpus.build()
    words = vocabulary.learn(review.text for review in corpus.train)

    def arrays(reviews: Sequence[sentiment_corpus.Review]) -> tuple[dataset.Array, dataset.Array]:
        ids = words.encode_all((review.text for review in reviews), WRITTEN_TOKENS)
        return numpy.array(ids, "int32"), numpy.array([review.label for review in reviews], "int32")

    train, held_out = arrays(corpus.train), arrays(corpus.held_out)
    by_kind = {
        kind: arrays([review for review in corpus.held_out if review.kind == kind])
        for kind, _ in sentiment_corpus.KINDS
    }
    return dataset.Dataset(
        name="reviews written for this project; held-out frames and word pairs",
        classes=sentiment_corpus.SENTIMENTS,
        train_inputs=train[0],
        train_labels=train[1],
        held_out_inputs=held_out[0],
        held_out_labels=held_out[1],
        extra_held_out={**by_kind, "handwritten": arrays(corpus.handwritten_held_out)},
        held_out_texts=tuple(review.text for review in corpus.held_out),
        vocabulary=words.words,
        vary=lambda ids, labels: (_hide(ids, words.words.index(vocabulary.UNKNOWN)), labels),
    )


def _hide(ids: dataset.Array, unknown: int) -> dataset.Array:
    chosen = numpy.random.default_rng(0).random(ids.shape) < HIDDEN_RATIO
    return numpy.where(chosen & (ids != 0), numpy.int32(unknown), ids)


def _imdb(name: str, arrays: Mapping[str, Any], word_index: Mapping[str, int]) -> dataset.Dataset:
    ranked = sorted(word_index, key=lambda word: word_index[word])
    words = (*_IMDB_SPECIAL, *ranked)[:IMDB_WORDS]

    def padded(texts: Sequence[Sequence[int]]) -> dataset.Array:
        known = [[i if i < len(words) else _IMDB_SPECIAL.index(vocabulary.UNKNOWN) for i in text] for text in texts]
        return numpy.array([vocabulary.pad(text, IMDB_TOKENS) for text in known], "int32")

    held_out = padded(arrays["x_test"])
    return dataset.Dataset(
        name=name,
        classes=sentiment_corpus.SENTIMENTS,
        train_inputs=padded(arrays["x_train"]),
        train_labels=numpy.asarray(arrays["y_train"], "int32"),
        held_out_inputs=held_out,
        held_out_labels=numpy.asarray(arrays["y_test"], "int32"),
        held_out_texts=tuple(" ".join(words[i] for i in row if i >= len(_IMDB_SPECIAL)) for row in held_out.tolist()),
        vocabulary=words,
    )


def _downloaded() -> tuple[Mapping[str, Any], Mapping[str, int]]:
    import keras

    ((x_train, y_train), (x_test, y_test)), word_index = dataset.download(
        lambda: (keras.datasets.imdb.load_data(), keras.datasets.imdb.get_word_index()),
        name="IMDB",
        instead="--data written, or --data with the path of an imdb.npz",
    )
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}, word_index


def _from_npz(path: pathlib.Path) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """The file as it is published: raw ranks, so start and offset are added here as Keras' own loader does."""
    try:
        # The published file holds ragged lists, hence pickles: only ever a file that the person names.
        with numpy.load(path, allow_pickle=True) as stored:
            raw = {name: stored[name] for name in ("x_train", "y_train", "x_test", "y_test")}
        word_index = json.loads(path.with_name("imdb_word_index.json").read_text(encoding="utf-8"))
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise dataset.DataUnavailable(f"{path} can't be read in the layout of imdb.npz: {error}") from error
    for name in ("x_train", "x_test"):
        raw[name] = [[1, *(rank + 3 for rank in text)] for text in raw[name]]
    return raw, word_index
