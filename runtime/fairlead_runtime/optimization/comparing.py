"""Compares a variant with the float model: the same contract, right answers, change of scores, and time of a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead_runtime.feedback.ledger import THRESHOLD
from fairlead_runtime.inference import tops
from fairlead_runtime.model.onnx import predictor, trials
from fairlead_runtime.model.predictor import Array, InputRefusedError, ModelFailedError, Predictor, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.optimization.record import Speed

BATCH_ROWS = tops.ROWS_MAX
ROWS = (1, 32)
"""Of the calls that are measured."""
ROUNDS = 11
BLOCK_S = 0.01
MEASURE_S = 20.0
"""Measuring all variants ends after this time, with at least one round."""
CALLS_MAX = 400
"""Single calls of a block that are kept for the quantiles."""


class UnusableModelError(Exception):
    """The samples can't judge this model; the text is a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answers to the judged samples, in batches, how many are right, and of how many rows the top score is NaN."""

    outputs: Sequence[Tensors]
    correct: int
    unknown: int = 0


def answer(model: Predictor, signature: Signature, inputs: Tensors, labels: Array) -> Answered:
    """Raises UnusableModelError where the model fails on the samples, or its answers are no classes.

    Raises MemoryError where it fails for want of memory.
    """
    read, outputs, correct, unknown = tops.reader(signature), [], 0, 0
    for start in range(0, len(labels), BATCH_ROWS):
        rows = slice(start, start + BATCH_ROWS)
        try:
            given = model(tuple(array[rows] for array in inputs))
        except (InputRefusedError, ModelFailedError) as error:
            if predictor.is_want_of_memory(str(error)):
                raise MemoryError from None
            raise UnusableModelError(f"the model fails on the samples from row {start}: {error}") from None
        found = read(given)
        if found is None or len(found.values) != len(labels[rows]):
            raise UnusableModelError("none of the model's outputs has scores of classes, which Accuracy needs")
        values = np.array(found.values)
        is_number = found.kind is tops.Kind.NUMBER
        is_unknown = np.isnan(values) if is_number else values == tops.NO_CLASS
        predicted = values >= THRESHOLD if is_number else values
        correct += int(np.count_nonzero((predicted == labels[rows]) & ~is_unknown))
        unknown += int(np.count_nonzero(is_unknown))
        outputs.append(given)
    return Answered(outputs=outputs, correct=correct, unknown=unknown)


def largest_change(one: Answered, other: Answered) -> float:
    """Of a number of the answers, by the largest number of its output (at least 1); infinite where one is NaN."""
    largest = 0.0
    for before, after in zip(one.outputs, other.outputs, strict=True):
        for a, b in zip(before, after, strict=True):
            x, y = a.astype(np.float64), b.astype(np.float64)
            if not a.size:
                continue
            scale = max(1.0, float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0)))
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            change = np.where(same, 0.0, np.abs(np.where(same, 0.0, x) - np.where(same, 0.0, y)))
            found = float(change.max()) / scale
            largest = max(largest, found if np.isfinite(found) else np.inf)
    return largest


def breach(base: Predictor, variant: Predictor, signature: Signature) -> str | None:
    """How the variant breaks the contract: it refuses other inputs, or gives other shapes or types.

    Raises MemoryError.
    """
    for trial in trials.trials(signature):
        if not trial.is_finite:
            continue
        expected, got = _answer(base, trial.inputs), _answer(variant, trial.inputs)
        if isinstance(expected, trials.Refused) or isinstance(got, trials.Refused):
            if expected != got:
                verbs = ("refuses" if isinstance(each, trials.Refused) else "answers" for each in (expected, got))
                return f"the float model {next(verbs)} {trial.name}, the variant {next(verbs)} it"
        elif [(a.shape, a.dtype) for a in expected] != [(b.shape, b.dtype) for b in got]:
            return f"its answer to {trial.name} has another shape or type"
    return None


def _answer(model: Predictor, inputs: Tensors) -> trials.Answer:
    """Raises MemoryError."""
    try:
        return tuple(model(inputs))
    except InputRefusedError:
        return trials.Refused(by_input=True)
    except ModelFailedError as error:
        if predictor.is_want_of_memory(str(error)):
            raise MemoryError from None
        return trials.Refused(by_input=False)


def measure(models: Sequence[Predictor], inputs: Tensors, *, is_batched: bool, threads: int) -> Sequence[list[Speed]]:
    """All models in turns, so that a busy machine slows each; for each the speeds by the number of rows.

    With one thread the best time is of the processor, which others disturb least; the quantiles are of the wall clock.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    deadline_s = time.monotonic() + MEASURE_S
    found: list[list[Speed]] = [[] for _ in models]
    for rows in ROWS if is_batched else ROWS[:1]:
        given = tuple(np.resize(array, (rows, *array.shape[1:])) for array in inputs)
        best = [float("inf")] * len(models)
        calls: list[list[float]] = [[] for _ in models]
        for model in models:
            model(given)
        for number in range(ROUNDS):
            order = range(len(models)) if number % 2 else reversed(range(len(models)))
            for index in order:
                mean_s, single_s = _block(models[index], given, clock)
                best[index] = min(best[index], mean_s)
                calls[index] += single_s
            if time.monotonic() > deadline_s:
                break
        for index, each in enumerate(calls):
            p50_s, p99_s = np.quantile(each, (0.5, 0.99), method="inverted_cdf").tolist()
            found[index].append(Speed(rows=rows, best_s=best[index], p50_s=p50_s, p99_s=p99_s))
    return found


def _block(model: Predictor, inputs: Tensors, clock: Callable[[], float]) -> tuple[float, list[float]]:
    started, calls, single_s = clock(), 0, []
    while calls == 0 or clock() - started < BLOCK_S:
        begun_s = time.perf_counter()
        model(inputs)
        if calls < CALLS_MAX:
            single_s.append(time.perf_counter() - begun_s)
        calls += 1
    return (clock() - started) / calls, single_s
