"""What a model's answers always are, as trials before readiness show it: finite numbers, or distributions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError, Tensors
from fairlead_runtime.model.random_inputs import random_inputs
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, example_bytes

Array = np.ndarray[Any, Any]
TRIALS_NEEDED = 3
SUM_TOLERANCE = 1e-2
"""How far the sum of a row of probabilities may be from 1: float16 has three digits."""

NEGATIVE_TOLERANCE = 1e-6
"""Rounding below 0 that is no negative probability."""

_SPREADS = (0.1, 1.0, 1.0, 3.0, 30.0)
_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKinds:
    """The indices of the outputs of floats that were finite, and of those whose rows were distributions, in all trials.

    None are known of a model that answered fewer than `TRIALS_NEEDED` trials.
    """

    finite: frozenset[int] = frozenset()
    distributions: frozenset[int] = frozenset()


def try_out(model: LoadedModel, example: Tensors | None) -> AnswerKinds:
    """Calls the model with its example and with random inputs; what it refuses says nothing."""
    candidates = {index for index, spec in enumerate(model.signature.outputs) if spec.dtype.is_float}
    finite, distributions, answered = set(candidates), set(candidates), 0
    for inputs in itertools.chain([example] if example is not None else [], _random(model)):
        try:
            outputs = model.predictor(inputs)
        except (InputRefusedError, ModelFailedError):
            continue
        answered += 1
        finite = {index for index in finite if bool(np.isfinite(outputs[index]).all())}
        distributions = {index for index in distributions if bool(are_distributions(outputs[index]).all())}
    if answered < TRIALS_NEEDED:
        return AnswerKinds()
    return AnswerKinds(finite=frozenset(finite), distributions=frozenset(distributions))


def are_distributions(array: Array) -> Array:
    """By row whether it is a distribution: at least two numbers, none below 0, with the sum 1. Of any rank."""
    if array.ndim != 2 or array.shape[1] < 2:
        return np.zeros(1, bool)
    sums = array.sum(axis=1, dtype=np.float64)
    found: Array = (array.min(axis=1) >= -NEGATIVE_TOLERANCE) & (np.abs(sums - 1) <= SUM_TOLERANCE)
    return found


def _random(model: LoadedModel) -> Iterator[Tensors]:
    generator = np.random.default_rng(17)
    for spread in _SPREADS:
        for free in model.signature.free_sizes:
            if example_bytes(model.signature, _ROWS, free=free) <= EXAMPLE_BYTES_MAX:
                yield random_inputs(model.signature, _ROWS, generator, spread=spread, free=free)
