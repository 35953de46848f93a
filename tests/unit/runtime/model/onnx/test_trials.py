"""What counts as the same answer, and which inputs are tried."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_runtime.model.onnx import trials
from fairlead_runtime.model.onnx.predictor import first_sentence
from fairlead_runtime.model.onnx.trials import Refused
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec


def floats(*values: float) -> Tensors:
    return (np.array(values, dtype=np.float32),)


def signature(*specs: tuple[str, DType, tuple[int | None, ...]]) -> Signature:
    made = tuple(TensorSpec(name=name, dtype=dtype, shape=shape) for name, dtype, shape in specs)
    return Signature(name="serving_default", method="predict", inputs=made, outputs=made)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (floats(0.5, 0.25), floats(0.500004, 0.25), True),
        (floats(0.5, 0.25), floats(0.5001, 0.25), False),
        (floats(0.0, 1000.0), floats(0.009, 1000.0), True),
        (floats(0.0, 1000.0), floats(0.02, 1000.0), False),
        (floats(np.nan, np.inf), floats(np.nan, np.inf), True),
        (floats(1.0), floats(np.nan), False),
        (floats(1.0), floats(1.0, 1.0), False),
        (floats(1.0), (np.array([1.0]),), False),
        ((np.array([3]),), (np.array([4]),), False),
        ((np.array([3]),), (np.array([3]),), True),
        (floats(1.0), (*floats(1.0), *floats(1.0)), False),
        (Refused(by_input=True), Refused(by_input=True), True),
        (Refused(by_input=False), Refused(by_input=False), True),
        (Refused(by_input=True), Refused(by_input=False), False),
        (floats(1.0), Refused(by_input=True), False),
        (Refused(by_input=True), floats(1.0), False),
    ],
)
def test_scores_may_differ_within_the_tolerance_and_refusals_not_at_all(one, other, *, same: bool) -> None:
    assert trials.is_same(one, other) is same


def test_a_refusal_of_another_kind_is_described() -> None:
    """TensorFlow's is answered with 400, that of ONNX Runtime would be with 500."""
    trial = trials.Trial(key="trial-0", name="1 rows of zeros", inputs=floats(0.0))
    text = trials.describe(trial, Refused(by_input=True), Refused(by_input=False))
    assert text == "TensorFlow refuses 1 rows of zeros, ONNX Runtime fails on it"


def test_the_trials_are_the_same_in_each_process() -> None:
    given = signature(("x", DType.FLOAT32, (None, 4)))
    first, second = list(trials.trials(given)), list(trials.trials(given))
    assert [trial.key for trial in first] == [trial.key for trial in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.inputs[0], other.inputs[0])
    assert sum(trial.is_random for trial in first) >= trials.ANSWERS_NEEDED
    assert {trial.name for trial in first if not trial.is_finite} == {
        f"{value}{where} in 'x'" for value in ("nan", "inf", "-inf") for where in ("", " everywhere")
    }


@pytest.mark.parametrize("rows", [1, 7, 100, 1000, 50_000])
def test_an_index_is_tried_that_lies_once_more_below_the_first_row(rows: int) -> None:
    """To ONNX it would be a row, and to a layer that counts from the end by itself as well."""
    given = signature(("ids", DType.INT32, (None, 6)))
    tried = {int(value) for trial in trials.trials(given) for value in trial.inputs[0].flat}
    assert any(-2 * rows <= value < -rows for value in tried)
    assert -1 in tried
    assert max(tried) == 2**31 - 1


def test_every_column_is_negative_in_a_trial_and_differs_from_its_neighbours_in_another() -> None:
    """A model may read one column only, or compare two."""
    given = signature(("ids", DType.INT32, (None, 6)), ("more", DType.INT64, (None, 2)))
    arrays = [trial.inputs for trial in trials.trials(given)]
    for i, columns in enumerate((6, 2)):
        for column in range(columns):
            assert any((inputs[i][:, column] < 0).any() and (inputs[i] >= 0).any() for inputs in arrays)
            for value in (-1, np.iinfo(given.inputs[i].dtype.numpy).min):
                assert any((inputs[i][:, column] == value).any() for inputs in arrays)
    assert any((ids < 0).any() and (more < 0).any() for ids, more in arrays)


def test_inputs_of_different_numbers_of_rows_are_tried() -> None:
    given = signature(("a", DType.FLOAT32, (None, 2)), ("b", DType.FLOAT32, (None, 2)))
    shapes = {tuple(len(each) for each in trial.inputs) for trial in trials.trials(given)}
    assert {(2, 3), (3, 2)} <= shapes


def test_inputs_that_would_be_too_large_are_left_out() -> None:
    assert list(trials.trials(signature(("x", DType.FLOAT32, (None, 20_000, 20_000))))) == []


@pytest.mark.parametrize(("error", "by_input"), [(InputRefusedError("no"), True), (ModelFailedError("broken"), False)])
def test_a_refusal_is_an_answer(error: Exception, *, by_input: bool) -> None:
    def predictor(_: Tensors) -> Tensors:
        raise error

    assert trials.answer(predictor, floats(1.0)) == Refused(by_input=by_input)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Gather node. "
            "Name:'StatefulPartitionedCall/gather' Status Message: indices element out of data bounds, idx=9",
            "an index is outside the table that it is for",
        ),
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid rank for input: x Got: 2 Expected: 4 Please fix",
            "Invalid rank for input: x Got: 2 Expected: 4 Please fix",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Status Message: /onnxruntime_src/core/where.cc:54 Broken\nmore",
            "Broken",
        ),
        (
            '[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. In Node, ("a", Bucketize, "", -1)',
            'This is an invalid model. In Node, ("a", Bucketize, "", -1)',
        ),
        ("", "ONNX Runtime gives no reason"),
    ],
)
def test_a_client_reads_what_went_wrong_and_not_where_in_onnx_runtime(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence
