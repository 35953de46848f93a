"""Predictions before readiness: the model answers, its first calls are behind it, and its speed is known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError, Tensors
from fairlead_runtime.model.signature import example_inputs

CALLS_MAX = 20
BUDGET_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The median duration of a call in seconds, by number of rows; 1 row is always among them."""

    call_s: Mapping[int, float]

    @property
    def single_s(self) -> float:
        return self.call_s[min(self.call_s)]


def run(model: LoadedModel, batch_sizes: Sequence[int]) -> Speed:
    """Calls the model at each batch size; raises LoadError (WarmupFailed) in its own words."""
    sizes = sorted({1, *batch_sizes}) if model.signature.is_batched else [1]
    return Speed(call_s={rows: _measure(model, rows) for rows in sizes})


def _measure(model: LoadedModel, rows: int) -> float:
    inputs = example_inputs(model.signature, rows)
    durations: list[float] = []
    started = time.perf_counter()
    while len(durations) < CALLS_MAX and (len(durations) < 2 or time.perf_counter() - started < BUDGET_S):
        before = time.perf_counter()
        _call(model, rows, inputs)
        durations.append(time.perf_counter() - before)
    # The first call pays for what is done once.
    return median(durations[1:])


def _call(model: LoadedModel, rows: int, inputs: Tensors) -> None:
    try:
        outputs = model.predictor(inputs)
    except (InputRefusedError, ModelFailedError) as error:
        raise LoadError(LoadReason.WARMUP_FAILED, f"the model fails on a batch of {rows}: {error}") from None
    for spec, output in zip(model.signature.outputs, outputs, strict=True):
        if spec.has_free_batch and model.signature.is_batched and output.shape[0] != rows:
            text = f"the output {spec.name!r} has {output.shape[0]} rows for {rows} rows of input"
            raise LoadError(LoadReason.WARMUP_FAILED, text)
