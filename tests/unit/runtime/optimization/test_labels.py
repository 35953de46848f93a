"""Labels that don't fit the model are refused in a sentence that says what would be right."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import labels


def signature(*shape: int | None, dtype: DType = DType.FLOAT32) -> Signature:
    return Signature(
        name="serving_default",
        method="predict",
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 3)),),
        outputs=(TensorSpec(name="y", dtype=dtype, shape=shape),),
    )


def test_an_index_that_no_class_has_is_refused() -> None:
    why = "'labels' holds 4, but the model's scores are of 4 classes, 0 to 3"
    with pytest.raises(labels.LabelsDontFitError, match=why):
        labels.check_range(signature(None, 4), np.array([0, 4, 1]))
    labels.check_range(signature(None, 4), np.array([0, 3, 1]))


@pytest.mark.parametrize("shape", [(None, 1), (None,)])
def test_one_number_a_row_is_the_score_of_class_1(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(labels.LabelsDontFitError, match=r"'labels' must hold 0 and 1. A model of quantities"):
        labels.check_range(signature(*shape), np.array([0, 250, 1]))
    labels.check_range(signature(*shape), np.array([0, 1, 1]))


def test_where_the_number_of_classes_is_not_known_each_index_may_be_one() -> None:
    labels.check_range(signature(None, dtype=DType.INT64), np.array([0, 999]))
    labels.check_range(signature(None, None), np.array([0, 999]))


@pytest.mark.parametrize("correct", [0, 4, 5])
def test_a_model_that_is_no_better_than_a_constant_answer_is_refused(correct: int) -> None:
    true = np.array([2] * 5 + [0, 1, 0, 1, 3])
    why = f"is right on {correct} of the 10 judged samples, and one that always answers 2 would be on 5"
    with pytest.raises(labels.LabelsDontFitError, match=why):
        labels.check_accuracy(correct, 0, true)
    with pytest.raises(labels.LabelsDontFitError, match=r"judged samples \(its scores are NaN for 3\), and one"):
        labels.check_accuracy(correct, 3, true)
    labels.check_accuracy(6, 0, true)
    assert labels.count_most_frequent(true) == 5
