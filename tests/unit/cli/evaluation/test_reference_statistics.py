"""The bins and vocabularies of training data stay within what a replica reads."""

from __future__ import annotations

import numpy as np

from fairlead_cli.evaluation import reference_statistics
from fairlead_runtime.model.reference_statistics import ReferenceStatistics
from fairlead_runtime.model.signature import DType, Signature, TensorSpec


def make_signature(*shapes: tuple[DType, tuple[int | None, ...]]) -> Signature:
    inputs = tuple(TensorSpec(name=f"x{i}", dtype=dtype, shape=shape) for i, (dtype, shape) in enumerate(shapes))
    output = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 2))
    return Signature(name="serving_default", method="predict", inputs=inputs, outputs=(output,))


def test_only_inputs_that_are_compared_have_a_vocabulary() -> None:
    texts = np.array([b"a good film", b"a bad one"] * 10, dtype=object)
    signature = make_signature(*[(DType.STRING, (None,))] * 9)
    vocabularies, features = reference_statistics.bin_rows(signature, [texts] * 9)
    assert [each.input for each in vocabularies] == list(range(8)), "two features each, of at most 16"
    assert len(features) == 16


def test_a_late_input_that_would_still_fit_has_neither_features_nor_a_vocabulary() -> None:
    numbers, texts = np.ones((20, 12), np.float32), np.array([b"good", b"bad"] * 10, dtype=object)
    signature = make_signature(*[(DType.FLOAT32, (None, 12))] * 16, (DType.STRING, (None,)))
    vocabularies, features = reference_statistics.bin_rows(signature, [*[numbers] * 16, texts])
    made = ReferenceStatistics(
        model_digest="sha256:" + "0" * 64, signature="s", features=features, vocabularies=vocabularies
    )
    assert {each.name for each in made.features} == {f"input0_{i}" for i in range(12)}
    assert made.vocabularies == ()
