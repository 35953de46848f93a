"""Which variant of a converted model serves it, and why: the float one, or a smaller or faster one made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fairlead_runtime.model.cache import Held
from fairlead_runtime.model.onnx.conversions import Conversion
from fairlead_runtime.model.predictor import Predictor
from fairlead_runtime.model.signature import Signature

FLOAT = "Float"


class VariantReason(StrEnum):
    """Why a variant serves; a label of a metric and a part of the status, so these are never renamed."""

    BEST = "Best"
    """Of the variants that keep the bounds it is the best in what spec.optimization.optimizeFor names."""
    REFUSED = "Refused"
    """No variant keeps the bounds and is better than the float model on this node."""
    NO_SAMPLES = "NoSamples"
    """There are no labelled samples beside the model that the bounds could be checked with."""
    NO_ENGINE = "NoEngine"
    """TensorFlow serves the model, so there is nothing that a variant could be made from."""
    NOT_PREPARED = "NotPrepared"
    """Making the variants failed or exceeded its limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantChoice:
    """`why` is a sentence that names what serves and what was refused by how much."""

    name: str
    reason: VariantReason
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Varied:
    """`predictor` and `lease` are None where the float model serves."""

    choice: VariantChoice
    predictor: Predictor | None = None
    lease: Held | None = None


Vary = Callable[[Conversion, Signature, float], Varied]
"""Finds or makes the variants of a conversion within so many seconds and picks one; raises nothing of its own."""


def without_engine(why: str) -> VariantChoice:
    """For a model that TensorFlow serves."""
    text = f"TensorFlow serves the model, and variants are made for ONNX Runtime: {why}"
    return VariantChoice(name=FLOAT, reason=VariantReason.NO_ENGINE, why=text)
