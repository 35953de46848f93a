"""The arithmetic of both methods on functions whose attributions are known; no TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_runtime.model.explaining import integrated_gradients, occlusion
from fairlead_runtime.model.explaining.integrated_gradients import NotFiniteError, Path
from fairlead_runtime.model.explaining.work import ELEMENTS_PER_CALL, ROWS_PER_CALL, AbandonedError, Work
from fairlead_runtime.model.predictor import Array

WORK = Work(is_awaited=lambda: True, shares_calls=True)
ROW = np.asarray([[1.0, -2.0, 3.0]])


def products(rows: Array, _target: int) -> tuple[Array, Array]:
    """`x0 * x1 + x2 ** 3` and its gradient."""
    x0, x1, x2 = rows.T
    return x0 * x1 + x2**3, np.stack((x1, x0, 3 * x2**2), axis=1)


def steep(rows: Array, _target: int) -> tuple[Array, Array]:
    """A step of width 0.01 in the first number, which few points don't see."""
    z = (rows[:, 0] - 0.5) * 100
    rise = 1 / (1 + np.exp(-z))
    return rise, np.stack((rise * (1 - rise) * 100, np.zeros(len(rows)), np.zeros(len(rows))), axis=1)


def path(gradient: integrated_gradients.Gradient, baseline: float = 0.0) -> Path:
    zero = np.full_like(ROW, baseline)
    difference = float(gradient(ROW, 0)[0][0] - gradient(zero, 0)[0][0])
    return Path(baseline=zero, row=ROW, target=0, difference=difference)


def test_integrated_gradients_of_a_polynomial_are_exact() -> None:
    # By hand: the product shares its value equally among its factors, the cube keeps its own.
    found = integrated_gradients.attribute(products, path(products), WORK, steps=8)
    np.testing.assert_allclose(found, [[-1.0, -1.0, 27.0]], rtol=1e-9)


@given(st.floats(-3, 3))
def test_integrated_gradients_add_up_to_the_difference_for_any_baseline(baseline: float) -> None:
    compared = path(products, baseline)
    found = integrated_gradients.attribute(products, compared, WORK, steps=8)
    assert found.sum() == pytest.approx(compared.difference, rel=1e-6, abs=1e-6)


def test_steps_are_doubled_until_the_sum_is_complete() -> None:
    compared = path(steep)
    few = integrated_gradients.attribute(steep, compared, WORK, steps=8)
    assert not integrated_gradients.is_complete(few, compared), "the test needs a function that 8 steps are too few for"
    found, steps = integrated_gradients.attribute_completely(steep, compared, WORK, steps=8, most=256)
    assert integrated_gradients.is_complete(found, compared)
    assert 8 < steps <= 256
    assert integrated_gradients.attribute_completely(steep, compared, WORK, steps=8, most=8)[1] == 8


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    def root(rows: Array, _target: int) -> tuple[Array, Array]:
        return rows[:, 0], np.full_like(rows, np.inf)

    with pytest.raises(NotFiniteError):
        integrated_gradients.attribute(root, path(products), WORK, steps=8)


def test_occlusion_finds_what_each_part_of_a_sum_adds() -> None:
    weights = np.asarray([2.0, 5.0, -1.0])
    found = occlusion.attribute(lambda rows: rows @ weights, ROW, np.zeros_like(ROW), WORK, regions_max=256)
    np.testing.assert_allclose(found, [[2.0, -10.0, -3.0]])


def test_occlusion_leaves_out_what_is_as_the_baseline_already() -> None:
    calls: list[int] = []

    def score(rows: Array) -> Array:
        calls.append(len(rows))
        return np.asarray(rows.sum(axis=(1, 2, 3)), dtype=np.float64)

    image = np.zeros((1, 8, 8, 1), dtype=np.float32)
    image[0, 2, 3, 0] = 4
    found = occlusion.attribute(score, image, np.zeros_like(image), WORK, regions_max=16)
    assert calls == [1, 1], "the image, and the one region that is not black"
    assert found[0, 2, 3, 0] == 4
    assert np.count_nonzero(found) == 1


@given(st.lists(st.integers(1, 40), min_size=0, max_size=3), st.integers(8, 256))
def test_regions_are_few_enough_and_cover_everything(shape: list[int], most: int) -> None:
    regions = occlusion.split(shape, most)
    assert regions.shape == tuple(shape)
    numbers = np.unique(regions)
    assert numbers[0] == 0
    assert len(numbers) <= most


@pytest.mark.parametrize(
    ("shape", "most", "regions"),
    [
        pytest.param((32,), 256, 32, id="a sequence: each position"),
        pytest.param((784,), 256, 256, id="a long row: neighbours together"),
        pytest.param((28, 28, 1), 256, 256, id="an image"),
        pytest.param((8, 8, 3), 256, 64, id="a small image: its channels together"),
        pytest.param((3, 64, 64), 256, 256, id="an image with its channels first"),
        pytest.param((), 256, 1, id="one number"),
    ],
)
def test_an_input_is_cut_into_as_many_regions_as_allowed(shape: tuple[int, ...], most: int, regions: int) -> None:
    assert len(np.unique(occlusion.split(shape, most))) == regions


def count_good(rows: Array) -> Array:
    return np.asarray([text.split().count(b"good") for text in rows.reshape(-1)], dtype=np.float64)


def test_a_word_weighs_what_the_text_loses_without_it() -> None:
    found = occlusion.attribute_words(count_good, " a good, good\tfilm ", WORK, shape=(1,), regions_max=256)
    np.testing.assert_allclose(found, [0, 0, 1, 0])
    found = occlusion.attribute_words(count_good, "good " * 6, WORK, shape=(1, 1), regions_max=3)
    np.testing.assert_allclose(found, [1] * 6)


def test_calls_are_bounded_and_end_when_nobody_waits() -> None:
    assert [part.stop - part.start for part in WORK.parts(100, elements=4)] == [ROWS_PER_CALL, 36]
    assert len(list(WORK.parts(3, elements=ELEMENTS_PER_CALL + 1))) == 3
    alone = Work(is_awaited=lambda: True, shares_calls=False)
    assert len(list(alone.parts(5, elements=1))) == 5
    answers = iter([True, False])
    leaving = Work(is_awaited=lambda: next(answers), shares_calls=False)
    with pytest.raises(AbandonedError):
        list(leaving.parts(5, elements=1))
