"""The inputs on which two engines have to agree, and what counts as the same answer.

Besides ordinary numbers the inputs hold what a client may send and a converter may treat differently: NaN, infinities,
indices that don't exist, negative numbers, inputs of different numbers of rows. Where one engine refuses an input, so
must the other, and where one fails by itself, so must the other: a client gets another status code for that.
What is not finite counts only for a model that looks for it (`IsNan`): what others make of it depends on the kernel,
also within TensorFlow, where a Relu may make 0 of NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead_runtime.model.predictor import Array, InputRefusedError, ModelFailedError, Predictor, Tensors
from fairlead_runtime.model.random_inputs import random_inputs
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, Signature, example_bytes, example_inputs

REVISION = 3
"""Of the inputs and the tolerance. Raise it with each change: what was found with others is then found again."""
RELATIVE_TOLERANCE = 1e-4
TOLERANCE_OF_LARGEST = 1e-5
"""Two numbers are the same if they differ by at most 1e-4 of themselves and 1e-5 of the largest number of their output
(at least 1)."""
ANSWERS_NEEDED = 3
"""Fewer random inputs that the model answers prove nothing."""

INDEX_DIGITS = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One input of the model, with a `key` that no other trial has.

    `is_random` marks ordinary inputs: the model must answer some of them. `is_finite` says that the input has neither
    NaN nor infinities.
    """

    key: str
    name: str
    inputs: Tensors
    is_random: bool = False
    is_finite: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """There is no answer; `by_input`: the engine says that the input is at fault, and not that the model failed."""

    by_input: bool


Answer = Tensors | Refused


def trials(signature: Signature) -> Iterator[Trial]:
    """The same ones in each process; those that would be too large are left out."""
    generator = np.random.default_rng(20260)
    for number, (name, inputs, is_random) in enumerate(_made(signature, generator)):
        yield Trial(key=f"trial-{number}", name=name, inputs=inputs, is_random=is_random, is_finite=_is_finite(inputs))


def _made(signature: Signature, generator: np.random.Generator) -> Iterator[tuple[str, Tensors, bool]]:
    for free in signature.free_sizes:
        yield from _ordinary(signature, generator, free)
    free = signature.free_sizes[-1]
    if _fits(signature, 3, free):
        single = random_inputs(signature, 1, generator, spread=1.0, free=free)
        for name, inputs in _filled(signature, single):
            yield name, inputs, False
        ordinary = random_inputs(signature, 3, generator, spread=1.0, free=free)
        for name, inputs in _changed(signature, ordinary):
            yield name, inputs, False


def _ordinary(signature: Signature, generator: np.random.Generator, free: int) -> Iterator[tuple[str, Tensors, bool]]:
    for rows in (1, 2):
        if _fits(signature, rows, free):
            yield f"{rows} rows of zeros", example_inputs(signature, rows, free=free), False
    for rows, spread in ((1, 1.0), (3, 0.1), (2, 30.0), (1, 300.0), (7, 3.0)):
        if _fits(signature, rows, free):
            inputs = random_inputs(signature, rows, generator, spread=spread, free=free)
            yield f"{rows} random rows of spread {spread:g}", inputs, True
    has_signed = any(spec.dtype.numpy.kind == "i" for spec in signature.inputs)
    for rows, spread in ((3, 1.0), (7, 30.0)) if has_signed else ():
        if _fits(signature, rows, free):
            inputs = random_inputs(signature, rows, generator, spread=spread, free=free, signed=True)
            yield f"{rows} random rows of spread {spread:g}, also negative", inputs, False


def _is_finite(inputs: Tensors) -> bool:
    return all(bool(np.isfinite(array).all()) for array in inputs if array.dtype.kind == "f")


def _fits(signature: Signature, rows: int, free: int) -> bool:
    return example_bytes(signature, rows, free=free) <= EXAMPLE_BYTES_MAX


def _filled(signature: Signature, single: Tensors) -> Iterator[tuple[str, Tensors]]:
    for i, spec in enumerate(signature.inputs):
        for value in _special_values(single[i]):
            filled = (*single[:i], np.full_like(single[i], value), *single[i + 1 :])
            yield f"{value} everywhere in {spec.name!r}", filled


def _changed(signature: Signature, ordinary: Tensors) -> Iterator[tuple[str, Tensors]]:
    for i, spec in enumerate(signature.inputs):
        for value in _special_values(ordinary[i]):
            one = ordinary[i].copy()
            one.flat[one.size // 2] = value
            yield f"{value} in {spec.name!r}", (*ordinary[:i], one, *ordinary[i + 1 :])
        if len(ordinary) > 1 and spec.has_free_batch:
            fewer = (*ordinary[:i], ordinary[i][:2], *ordinary[i + 1 :])
            yield f"fewer rows of {spec.name!r}", fewer


def _special_values(array: Array) -> Sequence[float]:
    if array.dtype.kind == "f":
        return (np.nan, np.inf, -np.inf)
    if array.dtype.kind not in "iu":
        return ()
    # One of them is below -n and not below -2n, whatever the number n of rows of a table is.
    powers = {sign * 2**power for power in range(INDEX_DIGITS) for sign in (-1, 1)}
    limits = np.iinfo(array.dtype)
    return sorted({int(limits.min), int(limits.max), *(v for v in powers if limits.min <= v <= limits.max)})


def answer(predictor: Predictor, inputs: Tensors) -> Answer:
    """What the model says to an input."""
    try:
        return tuple(np.asarray(output) for output in predictor(inputs))
    except InputRefusedError:
        return Refused(by_input=True)
    except ModelFailedError:
        return Refused(by_input=False)


def is_same(one: Answer, other: Answer) -> bool:
    """Whether `other` is the same answer as TensorFlow's `one`."""
    if isinstance(one, Refused) or isinstance(other, Refused):
        return one == other
    return len(one) == len(other) and all(map(_is_close, one, other))


def describe(trial: Trial, one: Answer, other: Answer) -> str:
    """How the answers to an input differ, as a sentence."""
    if isinstance(one, Refused) or isinstance(other, Refused):
        return f"TensorFlow {_verb(one)} {trial.name}, ONNX Runtime {_verb(other)} it"
    return f"the answers to {trial.name} differ by up to {largest_difference(one, other):.3g}"


def _verb(answer: Answer) -> str:
    if isinstance(answer, Refused):
        return "refuses" if answer.by_input else "fails on"
    return "answers"


def largest_difference(one: Answer, other: Answer) -> float:
    """Between numbers in the same place; 0 where nothing can be compared."""
    if isinstance(one, Refused) or isinstance(other, Refused):
        return 0.0
    return max((_difference(a, b) for a, b in zip(one, other, strict=False) if a.shape == b.shape), default=0.0)


def _is_close(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite: Array = np.abs(a[np.isfinite(a)])
    largest = max(1.0, float(finite.max())) if finite.size else 1.0
    allowed = TOLERANCE_OF_LARGEST * largest
    return bool(np.allclose(b, a, rtol=RELATIVE_TOLERANCE, atol=allowed, equal_nan=True))


def _difference(a: Array, b: Array) -> float:
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return 0.0
    differences: Array = np.abs(a.astype(np.float64) - b.astype(np.float64))
    finite: Array = differences[np.isfinite(differences)]
    return float(finite.max()) if finite.size else 0.0
