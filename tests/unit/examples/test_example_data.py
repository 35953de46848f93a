"""Digits keep their place when enlarged and moved; published files are read; text becomes ids and back."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
from examples import dataset, digits_data, sentiment_data, vocabulary

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_the_bundled_digits_are_split_with_every_class_in_both_parts() -> None:
    data = digits_data.load(flat=False)

    assert data.train_inputs.shape == (1437, 28, 28, 1)
    assert data.held_out_inputs.shape == (360, 28, 28, 1)
    assert data.train_inputs.dtype == np.float32
    assert (data.train_inputs.min(), data.train_inputs.max()) == (0.0, 1.0)
    assert set(data.train_labels.tolist()) == set(data.held_out_labels.tolist()) == set(range(10))
    flat = digits_data.load(flat=True)
    np.testing.assert_array_equal(flat.held_out_inputs, data.held_out_inputs.reshape(-1, 784))


def test_enlarging_neither_moves_nor_darkens_a_digit() -> None:
    small = np.zeros((1, 8, 8), "float32")
    small[0, 2:5, 3:7] = 16.0
    large = digits_data.enlarge(small)[0]
    scale = 28 / 8

    before = (np.array(scipy.ndimage.center_of_mass(small[0])) + 0.5) * scale
    after = np.array(scipy.ndimage.center_of_mass(large)) + 0.5
    np.testing.assert_allclose(after, before, atol=0.01)
    assert large.sum() == pytest.approx(small.sum() / 16 * scale**2, rel=0.01)


def test_moved_copies_follow_the_images_and_keep_shape_and_label() -> None:
    images = np.random.default_rng(1).random((5, 784)).astype("float32")
    moved, labels = digits_data.move(images, np.arange(5))

    assert moved.shape == (15, 784)
    np.testing.assert_array_equal(moved[:5], images)
    np.testing.assert_array_equal(labels, np.tile(np.arange(5), 3))


def test_a_file_in_the_layout_of_mnist_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "mnist.npz"
    images = np.full((3, 28, 28), 255, "uint8")
    np.savez(path, x_train=images, y_train=[1, 2, 3], x_test=images[:1], y_test=[9])

    data = digits_data.load(str(path), flat=True)

    assert data.train_inputs.shape == (3, 784)
    assert data.train_inputs.max() == 1.0
    assert data.held_out_labels.tolist() == [9]
    unvaried, _ = data.vary(data.train_inputs, data.train_labels)
    assert unvaried is data.train_inputs


def test_a_file_in_the_layout_of_imdb_is_read_with_its_words(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "imdb.npz"
    texts = np.array([[1, 2], [2, 3, 1]], dtype=object)
    np.savez(path, x_train=texts, y_train=[0, 1], x_test=texts, y_test=[1, 0])
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({"film": 1, "a": 2, "bad": 3}))

    data = sentiment_data.load(str(path))

    assert data.vocabulary[4:] == ("film", "a", "bad")
    assert data.train_inputs.shape == (2, sentiment_data.IMDB_TOKENS)
    assert data.train_inputs[1, -4:].tolist() == [1, 5, 6, 4]
    assert data.held_out_texts == ("film a", "a bad film")
    # A client that has only the vocabulary's file makes the same ids.
    words = vocabulary.Vocabulary(words=data.vocabulary)
    assert words.encode("A bad film", sentiment_data.IMDB_TOKENS) == data.train_inputs[1].tolist()


@pytest.mark.parametrize("content", [b"", b"not a zip file"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)

    with pytest.raises(dataset.DataUnavailable, match=r"mnist\.npz"):
        digits_data.load(str(path), flat=True)


def test_text_is_padded_on_the_left_and_keeps_its_end() -> None:
    words = vocabulary.learn(["good film good", "bad film"], minimum_count=2)

    assert words.words == ("<pad>", "<unknown>", "film", "good")
    assert words.encode("Good, GOOD film", 5) == [0, 0, 3, 3, 2]
    assert words.encode("a very good film", 2) == [3, 2]
    assert words.encode("dreadful", 2) == [0, 1]


def test_a_vocabulary_survives_its_file(tmp_path: pathlib.Path) -> None:
    words = vocabulary.learn(["a café, isn't it", "a café isn't it"])
    words.save(tmp_path / "vocabulary.txt")

    assert vocabulary.load(tmp_path / "vocabulary.txt") == words
    assert "isn't" in words.words


def test_data_that_cannot_be_downloaded_ends_the_training_with_what_to_use_instead(tmp_path: pathlib.Path) -> None:
    """Keras itself, in a process of its own: its cache is chosen when it is imported. Nothing listens on the port."""
    unreachable = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    code = (
        "from examples import train; "
        "print(train.main(['dense', '--data', 'mnist']), train.main(['lstm', '--data', 'imdb']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **unreachable},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines()[-1:] == ["2 2"], done.stderr
    assert re.search(r"^MNIST can't be downloaded here \(.+\); use --data bundled,", done.stderr, re.MULTILINE)
    assert re.search(r"^IMDB can't be downloaded here \(.+\); use --data written,", done.stderr, re.MULTILINE)
