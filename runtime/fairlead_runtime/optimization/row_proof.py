"""Whether the answer to a row stays the same when an outlying row is in its request.

A scale that is found over a whole tensor breaks that: the outlying row makes it coarse for the others. As in the proof
of batching, the model is called with rows alone and with others beside them, here on rows of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fairlead_runtime.model.merging import is_close
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.predictor import Array, InputRefusedError, ModelFailedError, Predictor, Tensors

TRIALS = 4
ROWS = 2
"""Of a trial, beside one that is outlying."""
FACTORS = (1.0, 1e3)
"""What floats of the row beside are multiplied by. Whole numbers stay, as others may be no index of the model."""


def describe(base: Predictor, variant: Predictor, inputs: Tensors) -> str | None:
    """How a row beside others changes the variant's answers to them, where it does not change the float model's.

    None where no such row was found. Raises MemoryError.
    """
    for part, beside in _trials(inputs):
        if _change(base, part, beside) is None and (found := _change(variant, part, beside)) is not None:
            return f"an outlying row of a request changes an answer to its other rows by {found:.3g}"
    return None


def _trials(inputs: Tensors) -> Iterator[tuple[Tensors, Tensors]]:
    for number in range(TRIALS):
        first = number * (ROWS + 1)
        part = tuple(array[first : first + ROWS] for array in inputs)
        other = tuple(array[first + ROWS : first + ROWS + 1] for array in inputs)
        if all(len(each) for each in other):
            for factor in FACTORS:
                yield part, tuple(_outlying(each, factor) for each in other)


def _outlying(row: Array, factor: float) -> Array:
    return (row * factor).astype(row.dtype) if row.dtype.kind == "f" else row


def _change(model: Predictor, part: Tensors, beside: Tensors) -> float | None:
    """How much the answers to `part` change; 0 where the model refuses or its answers have other shapes."""
    try:
        alone = model(part)
        together = model(tuple(np.concatenate(pair) for pair in zip(part, beside, strict=True)))
    except InputRefusedError:
        return 0.0
    except ModelFailedError as error:
        if predictor.is_want_of_memory(str(error)):
            raise MemoryError from None
        return 0.0
    changes = [_difference(one, other[: len(one)]) for one, other in zip(alone, together, strict=True)]
    return max((each for each in changes if each is not None), default=None)


def _difference(alone: Array, beside: Array) -> float | None:
    """None where both are the same within what batching allows."""
    if alone.shape != beside.shape:
        return 0.0
    if is_close(beside, alone):
        return None
    if alone.dtype.kind not in "fiu":
        return 1.0
    return float(np.nanmax(np.abs(beside.astype(np.float64) - alone.astype(np.float64))))
