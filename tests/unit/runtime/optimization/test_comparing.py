"""What counts as a right answer, and how much one answer differs from another."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import comparing

ROWS = 40


def signature(*shape: int | None) -> Signature:
    return Signature(
        name="serving_default",
        method="predict",
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 1)),),
        outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=shape),),
    )


@pytest.mark.parametrize("shape", [(None, 1), (None,), (None, 2)])
def test_an_answer_that_is_no_number_is_never_right(shape: tuple[int | None, ...]) -> None:
    """Also where the label is 0, which a number below the threshold stands for."""

    def model(inputs: Tensors) -> Tensors:
        found = np.zeros((len(inputs[0]), *shape[1:]), dtype=np.float32)
        found[inputs[0][:, 0] < 10] = np.nan
        return (found,)

    rows = np.arange(ROWS, dtype=np.float32)[:, None]
    answered = comparing.answer(model, signature(*shape), (rows,), np.zeros(ROWS, dtype=int))
    assert (answered.correct, answered.unknown) == (ROWS - 10, 10)


def answered(*values: float) -> comparing.Answered:
    return comparing.Answered(outputs=[(np.array([values], dtype=np.float32),)], correct=0)


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [
        ((0.2, 0.8), (0.5, 0.5), 0.3),
        ((20.0, 80.0), (20.0, 60.0), 0.25),
        ((np.nan, 0.5), (np.nan, 0.5), 0.0),
        ((np.inf, 0.5), (np.inf, 0.25), 0.25),
        ((0.5, 0.5), (np.nan, 0.5), np.inf),
        ((np.nan, 0.5), (0.5, 0.5), np.inf),
    ],
)
def test_a_change_is_a_part_of_the_largest_number(
    one: tuple[float, ...], other: tuple[float, ...], change: float
) -> None:
    assert comparing.largest_change(answered(*one), answered(*other)) == pytest.approx(change)
