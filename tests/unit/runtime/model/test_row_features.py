"""The numbers by which rows are compared with the training data."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fairlead_runtime.model import row_features
from fairlead_runtime.model.row_features import RowReader
from fairlead_runtime.model.signature import DType, Signature, TensorSpec


def signature(*inputs: tuple[DType, tuple[int | None, ...] | None]) -> Signature:
    specs = [TensorSpec(name=f"x{i}", dtype=dtype, shape=shape) for i, (dtype, shape) in enumerate(inputs)]
    output = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 2))
    return Signature(name="serving_default", method="predict", inputs=tuple(specs), outputs=(output,))


def read(dtype: DType, shape: tuple[int | None, ...], array: Any, row: int = 0) -> dict[str, float]:
    reader = RowReader(
        signature((dtype, shape)), {0: frozenset(row_features.words(np.array([b"a good film"], object)))}
    )
    return dict(zip(reader.names, reader.read((np.asarray(array, dtype=dtype.numpy),), row), strict=True))


def test_an_image_has_its_mean_and_spread() -> None:
    images = np.stack([np.zeros((28, 28, 1)), np.tile([[[0.0], [1.0]]], (28, 14, 1))])
    assert read(DType.FLOAT32, (None, 28, 28, 1), images, row=1) == {"input0_mean": 0.5, "input0_spread": 0.5}


def test_a_short_row_has_each_of_its_numbers() -> None:
    found = read(DType.INT32, (None, 3), [[1, 2, 3], [4, 5, 6]], row=1)
    assert found == {"input0_0": 4.0, "input0_1": 5.0, "input0_2": 6.0}
    assert read(DType.BOOL, (None,), [True]) == {"input0_0": 1.0}


def test_a_text_has_its_length_in_bytes_and_the_share_of_its_words_that_the_vocabulary_lacks() -> None:
    texts = [["schön".encode()], [b'A GOOD, "good" picture'], [b" ... "]]
    found = [read(DType.STRING, (None, 1), texts, row) for row in range(3)]
    assert found[:2] == [
        {"input0_length": 6.0, "input0_unknown": 1.0},
        {"input0_length": 22.0, "input0_unknown": 0.25},
    ]
    assert math.isnan(found[2]["input0_unknown"])


def test_a_bounded_part_of_a_text_is_looked_at() -> None:
    text = b"good " * row_features.WORDS_MAX + b"unheard " * 100
    assert read(DType.STRING, (None,), [text])["input0_unknown"] == 0.0
    assert read(DType.STRING, (None,), [b" " * row_features.WORD_BYTES_MAX + b"unheard"])["input0_length"] > 2048
    assert math.isnan(read(DType.STRING, (None,), [b" " * row_features.WORD_BYTES_MAX + b"unheard"])["input0_unknown"])


def test_long_texts_are_not_copied_for_their_first_words() -> None:
    row = np.array([b"good " * 1_000_000] * row_features.TEXTS_MAX, object)
    tracemalloc.start()
    try:
        found = row_features.words(row)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == row_features.WORDS_MAX
    assert peak_bytes < 1_000_000


def test_a_row_of_free_length_has_its_mean_and_spread_and_an_empty_one_none() -> None:
    assert read(DType.INT64, (None, None), [[2, 4]]) == {"input0_mean": 3.0, "input0_spread": 1.0}
    assert all(math.isnan(value) for value in read(DType.INT64, (None, None), np.zeros((1, 0))).values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_any_number_can_be_read(value: float) -> None:
    found = read(DType.FLOAT32, (None, 784), np.full((1, 784), value))
    assert set(found) == {"input0_mean", "input0_spread"}


def test_a_long_row_is_read_at_a_bounded_number_of_its_elements() -> None:
    row = np.zeros((1, 10 * row_features.ELEMENTS_MAX))
    row[0, 1::10] = 1e6
    assert read(DType.FLOAT32, (None, row.size), row)["input0_mean"] == 0.0
    row[0, ::10] = 7.0
    assert read(DType.FLOAT32, (None, row.size), row)["input0_mean"] == 7.0


def test_there_is_a_bounded_number_of_features() -> None:
    many = RowReader(signature(*[(DType.FLOAT32, (None, 5))] * 9), {})
    assert len(many.names) == 15
    assert many.names[:2] == ("input0_0", "input0_1")
    assert len(many.read(tuple(np.ones((1, 5)) for _ in range(9)), 0)) == 15
