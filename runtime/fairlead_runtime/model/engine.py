"""Which engine serves a model, and the model loaded for it.

TensorFlow is the reference. ONNX Runtime serves a model only after it gave TensorFlow's answers; a model for which that
can't be shown is served by TensorFlow, and the reason is kept.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum

from fairlead_runtime.config import Engine, EngineMode
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import loader
from fairlead_runtime.model.cache import Cache, Held
from fairlead_runtime.model.onnx import conversions, predictor, purity, record, trials
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import VariantChoice, Vary, without_engine

RATIO_MAX = 0.9
"""`Auto` takes ONNX Runtime if its calls take at most this part of the time of TensorFlow's, averaged over the numbers
of rows. Measurements differ by some percent from one to the next."""

COMPARE_S = 10.0
"""A start compares for so long, and at least one answer. When the model was converted, all were compared."""


class EngineReason(StrEnum):
    """Why an engine serves a model; a label of a metric, so these are never renamed."""

    REQUESTED = "Requested"
    """spec.serving.engine names it."""
    FASTER = "Faster"
    """It was measured to be faster than the other one."""
    NOT_FASTER = "NotFaster"
    """The other engine gives the same answers, but was not measured to be faster."""
    NOT_CONVERTED = "NotConverted"
    """The model can't be converted for the other engine."""
    NOT_EQUAL = "NotEqual"
    """The other engine's answers were not shown to be those of TensorFlow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`why` is one sentence for the log."""

    engine: Engine
    reason: EngineReason
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model loaded for the engine that serves it; `leases` keep its conversion and its variants in the cache.

    `variant` is None where none was asked for.
    """

    model: LoadedModel
    choice: Choice
    variant: VariantChoice | None = None
    leases: tuple[Held, ...] = ()


class _StaysOnTensorFlowError(Exception):
    def __init__(self, reason: EngineReason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


def load(mode: EngineMode, wanted: conversions.Wanted, cache: Cache, vary: Vary | None = None) -> Served:
    """Loads it for the engine of `mode`, else for TensorFlow; raises LoadError where TensorFlow can't serve it.

    `vary` picks the variant of a model that ONNX Runtime serves.
    """
    if mode is EngineMode.TENSORFLOW:
        requested = Choice(
            engine=Engine.TENSORFLOW, reason=EngineReason.REQUESTED, why="spec.serving.engine is TensorFlow"
        )
        return _load_tensorflow(wanted, requested, is_varied=vary is not None)
    checked = loader.check(wanted.fetched.path, wanted.source.format, wanted.source.signature, wanted.bounds)
    try:
        return _load_onnx(mode, wanted, checked, cache, vary)
    except _StaysOnTensorFlowError as error:
        choice = Choice(engine=Engine.TENSORFLOW, reason=error.reason, why=str(error))
        return _load_tensorflow(wanted, choice, is_varied=vary is not None)


def load_other(wanted: conversions.Wanted, failed: LoadError, *, is_varied: bool) -> Served:
    """For TensorFlow, since the warm-up with the other engine failed; raises LoadError."""
    choice = Choice(engine=Engine.TENSORFLOW, reason=EngineReason.NOT_EQUAL, why=f"by ONNX Runtime {failed.sentence}")
    return _load_tensorflow(wanted, choice, is_varied=is_varied)


def _load_tensorflow(wanted: conversions.Wanted, choice: Choice, *, is_varied: bool) -> Served:
    source = wanted.source
    model = loader.load(wanted.fetched.path, source.format, source.signature, wanted.bounds, threads=wanted.threads)
    return Served(model=model, choice=choice, variant=without_engine(choice.why) if is_varied else None)


def _load_onnx(
    mode: EngineMode, wanted: conversions.Wanted, checked: loader.Checked, cache: Cache, vary: Vary | None
) -> Served:
    deadline_s = time.monotonic() + wanted.environment.convert_s
    if checked.signature is not None:
        _refuse_by_signature(checked.signature)
    try:
        found = conversions.find_or_make(wanted, cache)
    except conversions.NoConversionError as error:
        raise _StaysOnTensorFlowError(EngineReason.NOT_CONVERTED, str(error)) from None
    if isinstance(found, record.Refusal):
        raise _StaysOnTensorFlowError(EngineReason(found.outcome), found.why)
    signature = found.record.signature.signature()
    choice = _choose(mode, found.record)
    try:
        onnx = predictor.open_model(found.content, signature, threads=wanted.threads)
    except predictor.CannotOpenError as error:
        raise _StaysOnTensorFlowError(EngineReason.NOT_CONVERTED, f"ONNX Runtime can't open it: {error}") from None
    _compare(onnx, signature, found)
    varied = None if vary is None else vary(found, signature, max(0.0, deadline_s - time.monotonic()))
    model = LoadedModel(
        signature=signature,
        predictor=onnx if varied is None or varied.predictor is None else varied.predictor,
        kind="ONNX Runtime" if varied is None else f"ONNX Runtime, {varied.choice.name}",
        folder=checked.folder,
    )
    return Served(
        model=model,
        choice=choice,
        variant=None if varied is None else varied.choice,
        leases=(found.lease,) if varied is None or varied.lease is None else (found.lease, varied.lease),
    )


def _refuse_by_signature(signature: Signature) -> None:
    try:
        purity.refuse_by_signature(signature)
    except purity.CannotConvertError as error:
        raise _StaysOnTensorFlowError(EngineReason.NOT_CONVERTED, str(error)) from None


def _choose(mode: EngineMode, converted: record.Converted) -> Choice:
    """Raises _StaysOnTensorFlowError where the other engine is the faster one."""
    if mode is EngineMode.ONNX_RUNTIME:
        why = "spec.serving.engine is ONNXRuntime, and its answers are those of TensorFlow"
        return Choice(engine=Engine.ONNX_RUNTIME, reason=EngineReason.REQUESTED, why=why)
    measured = converted.measured
    if not measured:
        raise _StaysOnTensorFlowError(EngineReason.NOT_FASTER, "no call of it could be measured")
    ratio = math.exp(sum(math.log(each.onnx_s / each.tensorflow_s) for each in measured) / len(measured))
    times = ", ".join(
        f"{each.onnx_s * 1e6:.0f} µs against {each.tensorflow_s * 1e6:.0f} µs for {each.rows} rows" for each in measured
    )
    if ratio > RATIO_MAX:
        raise _StaysOnTensorFlowError(EngineReason.NOT_FASTER, f"ONNX Runtime takes {times}")
    return Choice(engine=Engine.ONNX_RUNTIME, reason=EngineReason.FASTER, why=f"it takes {times} by TensorFlow")


def _compare(onnx: predictor.OnnxPredictor, signature: Signature, found: conversions.Conversion) -> None:
    """Each start asks again for the answers that TensorFlow gave when the model was converted."""
    deadline_s = time.monotonic() + COMPARE_S
    for trial in trials.trials(signature):
        expected = found.answers.get(trial.key)
        if expected is None:
            continue
        got = trials.answer(onnx, trial.inputs)
        if not trials.is_same(expected, got):
            why = f"in this process {trials.describe(trial, expected, got)}"
            raise _StaysOnTensorFlowError(EngineReason.NOT_EQUAL, why)
        if time.monotonic() > deadline_s:
            return
