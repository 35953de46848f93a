"""What a model said first of each row, and which models say such a thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fairlead_runtime.inference.tops import NO_CLASS, ROWS_MAX, Kind, Tops, reader
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Shape = tuple[int | None, ...] | None


def signature(*outputs: tuple[DType, Shape]) -> Signature:
    specs = tuple(TensorSpec(name=f"y{i}", dtype=dtype, shape=shape) for i, (dtype, shape) in enumerate(outputs))
    return Signature(
        name="s", method="m", inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 2)),), outputs=specs
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "output", "kind", "values"),
    [
        pytest.param(DType.FLOAT32, (None, 3), [[0.1, 0.7, 0.2]], Kind.CLASS, (1,), id="one row of classes"),
        pytest.param(DType.FLOAT32, (None, 3), [[1, 0, 0], [0, 0, 1]], Kind.CLASS, (0, 2), id="rows of classes"),
        pytest.param(DType.FLOAT32, (None, None), [[0.1, 0.9]], Kind.CLASS, (1,), id="a free number of classes"),
        pytest.param(DType.FLOAT64, (None, 1), [[0.5], [1.5]], Kind.NUMBER, (0.5, 1.5), id="a column of numbers"),
        pytest.param(DType.FLOAT32, (None,), [0.5, 1.5], Kind.NUMBER, (0.5, 1.5), id="numbers"),
        pytest.param(DType.FLOAT32, (3,), [0.1, 0.2, 0.7], Kind.CLASS, (2,), id="classes without a batch"),
        pytest.param(DType.FLOAT32, (1, 3), [[0.1, 0.2, 0.7]], Kind.CLASS, (2,), id="a batch of always one"),
        pytest.param(DType.FLOAT32, (), 0.5, Kind.NUMBER, (0.5,), id="one number"),
        pytest.param(DType.INT64, (None,), [4, 5], Kind.CLASS, (4, 5), id="class numbers"),
        pytest.param(DType.FLOAT32, (None, 2), [[np.nan, np.nan]], Kind.CLASS, (NO_CLASS,), id="one row of NaN"),
        pytest.param(DType.FLOAT32, (None, 2), [[0.1, np.nan], [0.1, 0.9]], Kind.CLASS, (NO_CLASS, 1), id="a NaN"),
    ],
)
def test_the_top_prediction_of_each_row(
    dtype: DType, shape: Shape, output: object, kind: Kind, values: tuple[float, ...]
) -> None:
    found = reader(signature((dtype, shape)))((np.array(output, dtype=dtype.numpy),))

    assert found is not None
    assert (found.kind, found.values) == (kind, values)


@pytest.mark.parametrize(
    ("dtype", "shape", "output"),
    [
        pytest.param(DType.STRING, (None,), [b"a"], id="strings"),
        pytest.param(DType.FLOAT32, (None, 2, 2), [[[1, 2], [3, 4]]], id="a sequence of scores"),
        pytest.param(DType.FLOAT32, (5, 2), [[1, 2]] * 5, id="five rows that are not a batch"),
        pytest.param(DType.INT64, (None, 2), [[1, 2]], id="rows of whole numbers"),
        pytest.param(DType.INT64, (None,), [-1], id="a negative class"),
        pytest.param(DType.FLOAT32, None, [[1, 2]], id="an unknown rank"),
        pytest.param(DType.FLOAT32, (None, None), [[], []], id="no class at all"),
    ],
)
def test_a_model_without_a_top_prediction_has_none(dtype: DType, shape: Shape, output: object) -> None:
    assert reader(signature((dtype, shape)))((np.array(output, dtype=dtype.numpy),)) is None


def test_the_first_output_that_has_one_is_taken() -> None:
    read = reader(signature((DType.STRING, (None,)), (DType.FLOAT32, (None, 2)), (DType.FLOAT32, (None, 1))))

    found = read((np.array([b"a"], dtype=object), np.array([[0.25, 0.75]]), np.array([[9.0]])))

    assert found == Tops(Kind.CLASS, (1,), (0.75,))


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 80), st.integers(2, 6)), elements=st.floats(0, 1, width=32)))
def test_the_first_rows_of_a_batch_represent_the_others(scores: np.ndarray) -> None:
    found = reader(signature((DType.FLOAT32, (None, None))))((scores,))

    assert found is not None
    assert list(found.values) == scores.argmax(axis=1)[:ROWS_MAX].tolist()
    assert list(found.scores) == scores.max(axis=1)[:ROWS_MAX].tolist()
