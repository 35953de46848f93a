"""Whether rows of several requests may share a call: f(a‖b) = f(a)‖f(b), tried on random inputs before readiness.

A free first dimension does not say so: a ranking, a graph or a normalisation over rows has one as well, and there the
answer to one request would depend on another's data.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import Array, InputRefusedError, LoadedModel, ModelFailedError, Tensors
from fairlead_runtime.model.random_inputs import random_inputs
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, example_bytes
from fairlead_runtime.model.warmup import has_equal_rows

CASES_NEEDED = 3
"""Fewer that the model accepts prove nothing."""

SLOW_CALL_S = 0.05
"""A model whose call of one row takes longer is tried on the first cases alone."""

_RELATIVE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-4, np.dtype(np.float16): 1e-2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`why` says what was found, for the log."""

    is_proved: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Case:
    """Rows of the two requests, the spread of their numbers, and the size of every other free dimension."""

    first: int
    second: int
    spread: float
    size: int = 1


_CASES = (
    _Case(1, 1, 1.0),
    _Case(1, 2, 3.0),
    _Case(3, 1, 0.1),
    _Case(2, 2, 30.0),
    _Case(1, 1, 1.0, 3),
    _Case(2, 3, 3.0, 4),
    _Case(1, 7, 300.0),
    _Case(5, 4, 1.0, 8),
)


def prove(model: LoadedModel, *, single_s: float, examples: Sequence[Tensors] = ()) -> Proof:
    """Tries each case; one that the model refuses, or that is too large, says nothing; other answers say no.

    Rows of the given examples are tried as well as random inputs, which many models refuse.
    """
    if not model.signature.is_batched:
        return Proof(is_proved=False, why="its first dimensions are not all free")
    generator = np.random.default_rng(11)
    accepted = 0
    depends = False
    cases = _CASES[:CASES_NEEDED] if single_s > SLOW_CALL_S else _CASES
    for a, b in itertools.chain(_pairs_of(examples, cases, generator), _random_pairs(model, cases, generator)):
        rows = len(a[0]), len(b[0])
        try:
            apart = model.predictor(a), model.predictor(b)
            together = model.predictor(tuple(np.concatenate(pair) for pair in zip(a, b, strict=True)))
        except (InputRefusedError, ModelFailedError):
            continue
        if not _is_joined(together, apart, rows):
            return Proof(is_proved=False, why=f"rows depend on each other: {rows[0]} and {rows[1]} rows")
        accepted += 1
        depends = depends or _differ(apart)
    if accepted < CASES_NEEDED:
        return Proof(is_proved=False, why=f"it accepted {accepted} trials, fewer than {CASES_NEEDED}")
    if not depends:
        return Proof(is_proved=False, why="it gave the same answer in all trials")
    return Proof(is_proved=True, why=f"rows are independent in {accepted} trials")


def _random_pairs(
    model: LoadedModel, cases: Sequence[_Case], generator: np.random.Generator
) -> Iterator[tuple[Tensors, Tensors]]:
    for case in cases:
        if example_bytes(model.signature, case.first + case.second, free=case.size) <= EXAMPLE_BYTES_MAX:
            first, second = (
                random_inputs(model.signature, rows, generator, spread=case.spread, free=case.size)
                for rows in (case.first, case.second)
            )
            yield first, second


def _pairs_of(
    examples: Sequence[Tensors], cases: Sequence[_Case], generator: np.random.Generator
) -> Iterator[tuple[Tensors, Tensors]]:
    """Two requests of rows of the examples, drawn at random; those of other row shapes are left out."""
    usable = [each for each in examples if has_equal_rows(each)]
    same = [each for each in usable if _row_shapes(each) == _row_shapes(usable[0])]
    if not same:
        return
    rows = tuple(np.concatenate(column) for column in zip(*same, strict=True))
    row_bytes = sum(array.nbytes for array in rows) // len(rows[0])
    for case in cases:
        if (case.first + case.second) * row_bytes <= EXAMPLE_BYTES_MAX:
            first, second = (
                tuple(array[chosen] for array in rows)
                for chosen in (generator.integers(0, len(rows[0]), count) for count in (case.first, case.second))
            )
            yield first, second


def _row_shapes(inputs: Tensors) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in inputs)


def _is_joined(together: Tensors, apart: Sequence[Tensors], rows: tuple[int, int]) -> bool:
    """Whether the outputs of the joined call are those of the two, one behind the other, row by row."""
    for output, first, second in zip(together, *apart, strict=True):
        if first.ndim == 0 or (first.shape[0], second.shape[0]) != rows or first.shape[1:] != second.shape[1:]:
            return False
        expected = np.concatenate((first, second))
        if output.shape != expected.shape or output.dtype != expected.dtype or not is_close(output, expected):
            return False
    return True


def is_close(a: Array, b: Array) -> bool:
    """Whether two answers of one model to the same rows are the same, but for another order of its sums."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    allowed = _RELATIVE.get(a.dtype, 1e-4)
    finite: np.ndarray[Any, Any] = np.abs(b[np.isfinite(b)])
    largest = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(a, b, rtol=allowed, atol=allowed * max(0.01, largest), equal_nan=True))


def _differ(apart: Sequence[Tensors]) -> bool:
    """Whether two answers, cut to the rows that both have, differ and are numbers."""
    for first, second in zip(*apart, strict=True):
        rows = min(len(first), len(second))
        one, other = first[:rows], second[:rows]
        if one.dtype.kind == "f" and not (np.isfinite(one).any() and np.isfinite(other).any()):
            continue
        if not np.array_equal(one, other):
            return True
    return False
