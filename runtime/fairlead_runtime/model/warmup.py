"""Predictions before readiness: they pay for what the first calls cost, and measure the model's speed.

The example is made up from the signature. A model may refuse it and still be right: an empty string is no JPEG file,
and one pixel is too small for a convolution. So a refusal is a note, never a reason not to serve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from fairlead_runtime.errors import LoadError, LoadReason, one_sentence
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError, Tensors
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
        example: One row that the model answers; None where it refused every example that was made.
        refusal: One sentence on the first example that was refused; None where all batch sizes were answered.
    """

    speed: Speed
    example: Tensors | None
    refusal: str | None


class _ExampleRefusedError(Exception):
    """The model does not take a made-up input; the text says why."""


def run(model: LoadedModel, batch_sizes: Sequence[int]) -> WarmUp:
    """Calls the model at each batch size. Raises LoadError (WarmupFailed) when the model fails by itself."""
    sizes = sorted({1, *batch_sizes}) if model.signature.is_batched else [1]
    first_refusal: str | None = None
    for free in model.signature.free_sizes:
        call_s, refusal = _measure_all(model, sizes, free)
        if call_s:
            example = example_inputs(model.signature, 1, free=free)
            return WarmUp(speed=Speed(call_s=call_s), example=example, refusal=refusal)
        first_refusal = first_refusal or refusal
    return WarmUp(speed=Speed(call_s={}), example=None, refusal=first_refusal)


def _measure_all(model: LoadedModel, sizes: Sequence[int], free: int) -> tuple[dict[int, float], str | None]:
    call_s: dict[int, float] = {}
    for rows in sizes:
        try:
            call_s[rows] = _measure(model, rows, free)
        except _ExampleRefusedError as error:
            return call_s, one_sentence(str(error))
    return call_s, None


def _measure(model: LoadedModel, rows: int, free: int) -> float:
    inputs = _example(model.signature, rows, free)
    durations: list[float] = []
    started = time.perf_counter()
    while len(durations) < CALLS_MAX and (len(durations) < 2 or time.perf_counter() - started < BUDGET_S):
        before = time.perf_counter()
        _call(model, rows, inputs)
        durations.append(time.perf_counter() - before)
    # The first call pays for what is done once.
    return median(durations[1:])


def _example(signature: Signature, rows: int, free: int) -> Tensors:
    size = example_bytes(signature, rows, free=free)
    if size > EXAMPLE_BYTES_MAX:
        raise _ExampleRefusedError(
            f"an example of {_count(rows)} would take {size} bytes, more than {EXAMPLE_BYTES_MAX}"
        )
    return example_inputs(signature, rows, free=free)


def _call(model: LoadedModel, rows: int, inputs: Tensors) -> None:
    try:
        outputs = model.predictor(inputs)
    except InputRefusedError as error:
        raise _ExampleRefusedError(f"the model refuses a generated input of {_count(rows)}: {error}") from None
    except ModelFailedError as error:
        raise LoadError(LoadReason.WARMUP_FAILED, f"the model fails on a batch of {rows}: {error}") from None
    for spec, output in zip(model.signature.outputs, outputs, strict=True):
        if spec.has_free_batch and model.signature.is_batched and output.shape[:1] != (rows,):
            shape = list(output.shape)
            text = f"the output {spec.name!r} has the shape {shape} for a generated input of {_count(rows)}"
            raise _ExampleRefusedError(text)


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
