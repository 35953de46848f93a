"""Inputs for trials of a model, made up from its signature; the same generator gives the same inputs everywhere."""

from __future__ import annotations

import math

import numpy as np

from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec


def random_inputs(
    signature: Signature,
    rows: int,
    generator: np.random.Generator,
    *,
    spread: float,
    free: int = 1,
    signed: bool = False,
) -> Tensors:
    """Floats of a normal distribution, small whole numbers, short strings; `free` for each further free dimension.

    With `signed` about half of the whole numbers are negative, where their type has such.
    """
    return tuple(_tensor(spec, shape_of(spec, rows, free), generator, spread, signed) for spec in signature.inputs)


def shape_of(spec: TensorSpec, rows: int, free: int) -> tuple[int, ...]:
    """The shape of an input of so many rows; where its rank is not known, that of a scalar."""
    return tuple((rows if i == 0 else free) if size is None else size for i, size in enumerate(spec.shape or ()))


def _tensor(
    spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator, spread: float, signed: bool
) -> Array:
    if spec.dtype is DType.STRING:
        found = np.empty(math.prod(shape), dtype=object)
        found[:] = [b"%d" % number for number in generator.integers(0, 100, found.size)]
        return found.reshape(shape)
    if spec.dtype is DType.BOOL:
        return generator.integers(0, 2, shape).astype(bool)
    if spec.dtype.is_float:
        return np.asarray(generator.normal(0, spread, shape), dtype=spec.dtype.numpy)
    # Whole numbers are often indices, and small ones are the most likely to exist.
    end = 2 + min(100, int(spread))
    least = -end if signed and spec.dtype.numpy.kind == "i" else 0
    return generator.integers(least, end, shape).astype(spec.dtype.numpy)
