"""Which share each part of a row has in its top score: of real models of TensorFlow, and the rows that have none."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_runtime.inference import tops
from fairlead_runtime.model import loader
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.explaining import shares
from fairlead_runtime.model.explaining.shares import NotExplainedError, ShareReader
from fairlead_runtime.model.explaining.work import ROWS_PER_CALL, AbandonedError
from fairlead_runtime.model.predictor import Array, LoadedModel, Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

BOUNDS = Bounds(bytes_max=100_000_000)
pytestmark = pytest.mark.filterwarnings("ignore")


def spec_of(*row: int | None, dtype: DType = DType.FLOAT32, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=(None, *row))


def signature_of(*inputs: TensorSpec) -> Signature:
    return Signature(name="s", method="", inputs=inputs, outputs=(spec_of(2, name="y"),))


class Weighted:
    """Scores of two classes: the weighted sum of a row's numbers, and 0."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.rows: list[int] = []

    def __call__(self, inputs: Tensors) -> Tensors:
        self.rows.append(len(inputs[0]))
        flat = inputs[0].reshape(len(inputs[0]), -1).astype(np.float64)
        found = flat @ self.weights.reshape(-1)
        return (np.stack([found, np.zeros_like(found)], axis=1),)


def reader_of(weights: Array, *, baseline: float = 0.0, shares_calls: bool = True) -> ShareReader:
    spec = spec_of(*weights.shape)
    model = LoadedModel(signature=signature_of(spec), predictor=Weighted(weights), kind="stand-in")
    return ShareReader(model, 0, [baseline] * shares.count_parts(spec), shares_calls=shares_calls)


def test_the_shares_of_a_weighted_sum_are_those_of_its_terms() -> None:
    reader = reader_of(np.array([1.0, -2.0, 0.0, 5.0]))
    found = reader.read(np.array([[1, -1, 7, 1]], np.float32), lambda: True)
    np.testing.assert_allclose(found, [1 / 8, 2 / 8, 0, 5 / 8, 0])


def test_a_part_that_is_its_baseline_has_no_share() -> None:
    reader = reader_of(np.ones(4), baseline=3.0)
    np.testing.assert_allclose(reader.read(np.array([[3, 4, 3, 6]], np.float32), lambda: True), [0, 0.25, 0, 0.75, 0])


def test_a_row_in_which_no_part_decides_counts_for_none() -> None:
    reader = reader_of(np.ones(3), baseline=5.0)
    assert reader.read(np.full((1, 3), 5.0, np.float32), lambda: True).tolist() == [0, 0, 0, 1]


def test_the_regions_of_an_image_are_a_grid() -> None:
    weights = np.zeros((28, 28, 1))
    weights[:7, 7:14] = 1
    found = reader_of(weights).read(np.ones((1, 28, 28, 1), np.float32), lambda: True)
    assert len(found) == 17
    assert found.argmax() == 1
    assert found[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "parts"), [((5,), 5), ((64,), 64), ((8, 8), 64), ((65,), 16), ((224, 224, 3), 16), ((), 1)]
)
def test_a_row_has_at_most_64_parts(row: tuple[int, ...], parts: int) -> None:
    assert shares.count_parts(spec_of(*row)) == parts


@pytest.mark.parametrize(("name", "shape"), [("dense", (4,)), ("cnn", (8, 8, 1)), ("counter", (4,))])
def test_the_shares_of_a_model_of_tensorflow_are_together_1(models, name: str, shape: tuple[int, ...]) -> None:
    model = loader.load(models.root / name, None, None, BOUNDS, threads=1)
    spec = model.signature.inputs[0]
    rows = np.random.default_rng(3).random((6, *shape), dtype=np.float32)
    reader = ShareReader(model, 0, shares.find_baselines(spec, rows), shares_calls=True)
    for i in range(len(rows)):
        found = reader.read(rows[i : i + 1], lambda: True)
        assert found.sum() == pytest.approx(1)
        assert (found >= 0).all()


def test_without_a_proof_each_call_has_one_row_and_with_it_few() -> None:
    for shares_calls, most in ((False, 1), (True, ROWS_PER_CALL)):
        weights = np.ones(64)
        spec = spec_of(64)
        called = Weighted(weights)
        model = LoadedModel(signature=signature_of(spec), predictor=called, kind="stand-in")
        ShareReader(model, 0, [0.0] * 64, shares_calls=shares_calls).read(np.ones((1, 64), np.float32), lambda: True)
        assert max(called.rows) == most
        assert sum(called.rows) == 66, "the row twice, and each part once"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_not_explained(value: float) -> None:
    with pytest.raises(NotExplainedError):
        reader_of(np.ones(2)).read(np.array([[1, value]], np.float32), lambda: True)


def test_a_score_that_is_not_finite_is_not_explained() -> None:
    with pytest.raises(NotExplainedError), np.errstate(all="ignore"):
        reader_of(np.array([np.inf, 1.0])).read(np.array([[1, 1]], np.float32), lambda: True)


def test_an_explanation_that_nobody_awaits_ends_before_the_next_call() -> None:
    with pytest.raises(AbandonedError):
        reader_of(np.ones(4)).read(np.ones((1, 4), np.float32), lambda: False)


@pytest.mark.parametrize(
    ("inputs", "obstacle"),
    [
        ((spec_of(4),), None),
        ((spec_of(4, dtype=DType.INT64),), None),
        ((spec_of(4), spec_of(4, name="z")), "the model has 2 inputs, not one"),
        ((spec_of(dtype=DType.STRING),), "the input 'x' holds no numbers"),
        ((spec_of(4, dtype=DType.BOOL),), "the input 'x' holds no numbers"),
        ((spec_of(None),), "the rows of the input 'x' have no fixed shape"),
        ((TensorSpec(name="x", dtype=DType.FLOAT32, shape=None),), "the rows of the input 'x' have no fixed shape"),
        ((spec_of(0),), "a row of the input 'x' has no or more than 262144 numbers"),
        ((spec_of(512, 513),), "a row of the input 'x' has no or more than 262144 numbers"),
    ],
)
def test_what_can_not_be_explained_says_why(inputs: tuple[TensorSpec, ...], obstacle: str | None) -> None:
    assert shares.find_obstacle(signature_of(*inputs), has_scores=True) == obstacle


def test_a_model_without_scores_can_not_be_explained() -> None:
    signature = Signature(name="s", method="", inputs=(spec_of(4),), outputs=(spec_of(dtype=DType.INT64, name="y"),))
    assert tops.scores_of(signature) is None
    found = shares.find_obstacle(signature, has_scores=False)
    assert found is not None
    assert "scores" in found


def test_baselines_are_the_means_of_floats_and_pixels_and_0_of_ids() -> None:
    rows = np.array([[1, 10], [2, np.nan], [6, 20]], np.float32)
    assert shares.find_baselines(spec_of(2), rows) == (3.0, 15.0)
    assert shares.find_baselines(spec_of(2, dtype=DType.UINT8), np.array([[1, 10], [2, 21]], np.uint8)) == (2.0, 16.0)
    assert shares.find_baselines(spec_of(2, dtype=DType.INT32), np.array([[1, 10]], np.int32)) == (0.0, 0.0)
