"""Predictions before readiness: they pay for what the first calls cost, and measure the model's speed.

A person may give an example. Otherwise it is made up from the signature; a model may refuse that and still be right: an
empty string is no JPEG file, and one pixel is too small for a convolution. So such a refusal is a note, never a reason
not to serve. A model that refuses the example that was given for it does not serve.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from fairlead_runtime.errors import LoadError, LoadReason, one_sentence
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError, Tensors, ValueFailedError
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, Signature, example_bytes, example_inputs

CALLS_MAX = 20
BUDGET_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The median duration of a call in seconds, by number of rows; empty where no call was answered."""

    call_s: Mapping[int, float]

    @property
    def single_s(self) -> float:
        """Seconds for the fewest rows; infinite where it is not known, so that such calls never block the server."""
        return self.call_s[min(self.call_s)] if self.call_s else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How the model answered its example.

    Attributes:
        example: Inputs that the model answers: those of the given example, else one row that was made up; None where it
            refused every example that was made.
        refusal: One sentence on the first example that was refused; None where all batch sizes were answered.
    """

    speed: Speed
    example: Tensors | None
    refusal: str | None

    def inputs_of(self, rows: int) -> Tensors:
        """Inputs of that many rows, like those that `speed` was measured with. There must be an example."""
        if self.example is None:
            raise ValueError("the model answered no example")
        return resize(self.example, rows)


class _ExampleRefusedError(Exception):
    """The model does not take a made-up input; the text says why."""


def run(model: LoadedModel, batch_sizes: Sequence[int], examples: Sequence[Tensors] = ()) -> WarmUp:
    """Calls the model at each batch size, with rows of the first of the given examples, if any.

    Raises:
        LoadError: the model fails by itself (WarmupFailed), or refuses an example that was given (ExampleInvalid).
    """
    if examples:
        return _run_given(model, batch_sizes, examples)
    sizes = sorted({1, *batch_sizes}) if model.signature.is_batched else [1]
    first_refusal: str | None = None
    for free in model.signature.free_sizes:
        call_s, refusal = _measure_all(model, sizes, functools.partial(_example, model.signature, free), is_given=False)
        if call_s:
            example = example_inputs(model.signature, 1, free=free)
            return WarmUp(speed=Speed(call_s=call_s), example=example, refusal=refusal)
        first_refusal = first_refusal or refusal
    return WarmUp(speed=Speed(call_s={}), example=None, refusal=first_refusal)


def rows_of(inputs: Tensors) -> int:
    """The size of the first dimension of the first input; 1 for a scalar."""
    return int(inputs[0].shape[0]) if inputs[0].ndim else 1


def has_equal_rows(inputs: Tensors) -> bool:
    """Whether all inputs have the same number of rows, so that one row can be taken from each."""
    return all(array.ndim > 0 and len(array) == len(inputs[0]) for array in inputs)


def resize(inputs: Tensors, rows: int) -> Tensors:
    """That many rows of the inputs, from the first on and repeated; the inputs themselves if they have as many."""
    if rows == rows_of(inputs):
        return inputs
    return tuple(np.take(array, np.arange(rows) % len(array), axis=0) for array in inputs)


def _run_given(model: LoadedModel, batch_sizes: Sequence[int], examples: Sequence[Tensors]) -> WarmUp:
    for number, inputs in enumerate(examples, start=1):
        try:
            _call(model, rows_of(inputs), inputs, is_given=True)
        except _ExampleRefusedError as error:
            which = "" if len(examples) == 1 else f"request {number}: "
            text = f"{which}{error}: give an example that the model answers, or none"
            raise LoadError(LoadReason.EXAMPLE_INVALID, text) from None
    first = examples[0]
    own = rows_of(first)
    can_resize = model.signature.is_batched and has_equal_rows(first)
    sizes = sorted({1, own, *batch_sizes}) if can_resize else [own]
    call_s, refusal = _measure_all(model, sizes, lambda rows: resize(first, rows), is_given=True)
    return WarmUp(speed=Speed(call_s=call_s), example=first, refusal=refusal)


def _measure_all(
    model: LoadedModel, sizes: Sequence[int], make: Callable[[int], Tensors], *, is_given: bool
) -> tuple[dict[int, float], str | None]:
    """The duration by number of rows, up to the first number whose inputs (by `make`) the model refuses."""
    call_s: dict[int, float] = {}
    for rows in sizes:
        try:
            call_s[rows] = _measure(model, rows, make(rows), is_given=is_given)
        except _ExampleRefusedError as error:
            return call_s, one_sentence(str(error))
    return call_s, None


def _measure(model: LoadedModel, rows: int, inputs: Tensors, *, is_given: bool) -> float:
    durations: list[float] = []
    started = time.perf_counter()
    while len(durations) < CALLS_MAX and (len(durations) < 2 or time.perf_counter() - started < BUDGET_S):
        before = time.perf_counter()
        _call(model, rows, inputs, is_given=is_given)
        durations.append(time.perf_counter() - before)
    # The first call pays for what is done once.
    return median(durations[1:])


def _example(signature: Signature, free: int, rows: int) -> Tensors:
    size = example_bytes(signature, rows, free=free)
    if size > EXAMPLE_BYTES_MAX:
        raise _ExampleRefusedError(
            f"an example of {_count(rows)} would take {size} bytes, more than {EXAMPLE_BYTES_MAX}"
        )
    return example_inputs(signature, rows, free=free)


def _call(model: LoadedModel, rows: int, inputs: Tensors, *, is_given: bool) -> None:
    try:
        outputs = model.predictor(inputs)
    except InputRefusedError as error:
        raise _ExampleRefusedError(f"the model refuses {_described(rows, is_given)}: {error}") from None
    except ModelFailedError as error:
        if isinstance(error, ValueFailedError) and not is_given:
            raise _ExampleRefusedError(f"the model fails on {_described(rows, is_given)}: {error}") from None
        raise LoadError(LoadReason.WARMUP_FAILED, f"the model fails on a batch of {rows}: {error}") from None
    for spec, output in zip(model.signature.outputs, outputs, strict=True):
        if spec.has_free_batch and model.signature.is_batched and output.shape[:1] != (rows,):
            shape = list(output.shape)
            text = f"the output {spec.name!r} has the shape {shape} for {_described(rows, is_given)}"
            raise _ExampleRefusedError(text)


def _described(rows: int, is_given: bool) -> str:
    return f"the example of {_count(rows)} that was given" if is_given else f"a generated input of {_count(rows)}"


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
