"""Measuring takes turns, and ends with its time, however slow a model is."""

from __future__ import annotations

import time

import pytest

from fairlead_runtime.model.onnx import convert
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

SPEC = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 4))
SIGNATURE = Signature(name="serving_default", method="predict", inputs=(SPEC,), outputs=(SPEC,))


class Slow:
    """An engine whose call takes longer than a block."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, inputs: Tensors) -> Tensors:
        self.rows.append(len(inputs[0]))
        time.sleep(2 * convert.BLOCK_S)
        return inputs


def test_a_slow_model_is_measured_once_and_for_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MEASURE_S", 0.0)
    tensorflow, onnx = Slow(), Slow()
    found = convert.measure(SIGNATURE, tensorflow, onnx, threads=2)
    assert [each.rows for each in found] == [1]
    # The first of TensorFlow's shows whether it answers.
    assert (tensorflow.rows, onnx.rows) == ([1, 1], [1])


def test_other_models_are_measured_in_all_rounds() -> None:
    tensorflow, onnx = Slow(), Slow()
    found = convert.measure(SIGNATURE, tensorflow, onnx, threads=2)
    assert [each.rows for each in found] == list(convert.ROWS)
    assert onnx.rows == [1] * convert.ROUNDS + [32] * convert.ROUNDS
