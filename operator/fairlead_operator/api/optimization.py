"""What a person writes in ``spec.optimization``, and what the status says of it. Explained in docs/optimization.md."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config

from fairlead_operator.api.model import MEMORY, ApiModel
from fairlead_operator.api.rules import number, rule, rules
from fairlead_operator.api.text import Message

MAX_DROP: Final = 0.01
MAX_SCORE_CHANGE: Final = 0.1
STAGES_MAX: Final = 8


class Technique(StrEnum):
    """A way to make a smaller or faster variant of a model."""

    FOLDING = "Folding"
    STATIC_INT8 = "StaticInt8"
    DYNAMIC_INT8 = "DynamicInt8"
    STRUCTURED_PRUNING = "StructuredPruning"
    MAGNITUDE_PRUNING = "MagnitudePruning"
    WEIGHT_CLUSTERING = "WeightClustering"


class OptimizeFor(StrEnum):
    """What the variant that serves is best in."""

    LATENCY = "Latency"
    THROUGHPUT = "Throughput"
    MEMORY = "Memory"
    SIZE = "Size"


class FloorMetric(StrEnum):
    """The metric of the floor."""

    ACCURACY = "Accuracy"


class AccuracyFloor(ApiModel):
    """How much worse than the float model a variant may be on the labelled samples beside the model."""

    metric: FloorMetric = FloorMetric.ACCURACY
    """The metric: Accuracy, the share of right predictions. Default: Accuracy."""
    max_drop: Annotated[float, number(0, 0.5)] = MAX_DROP
    """The maximum drop of the metric below that of the float model, from 0 to 0.5. Default: 0.01."""


class Parallelism(ApiModel):
    """The model cut into stages that run in replicas of their own."""

    stages: Annotated[int, Field(ge=2, le=STAGES_MAX)]
    """The number of stages. Each stage is a replica with `spec.serving.resources` of its own, and holds a part of the
    weights. From 2 to 8.
    """


class Optimization(ApiModel):
    """Variants of the model that each node tries, or stages of it. A change of any field creates a new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.parallelism) || (!has(self.techniques) && !has(self.optimizeFor) "
                "&& !has(self.accuracyFloor) && !has(self.maxScoreChange))",
                "must be the only field of spec.optimization, because no variants are made of a model in stages: leave "
                "the other fields out, or leave parallelism out",
                field=".parallelism",
            )
        )
    )

    techniques: Annotated[
        tuple[Technique, ...],
        Field(
            min_length=1,
            max_length=len(Technique),
            json_schema_extra=rules(
                rule(
                    "self.all(technique, self.exists_one(other, other == technique))",
                    "must name each technique once: remove the repeated one",
                )
            ),
        ),
    ] = tuple(Technique)
    """The techniques that are tried. `Folding`: what each call or each step of a loop computes again is computed once;
    the other techniques do that first. `StaticInt8`: 8-bit weights and activations, calibrated with samples.
    `DynamicInt8`: 8-bit weights. `StructuredPruning`: layers with fewer units. `MagnitudePruning`: small weights are
    zero. `WeightClustering`: the weights of a layer have few different values. Default: all.
    """
    optimize_for: OptimizeFor = OptimizeFor.LATENCY
    """What a variant must be better in than the float model, by at least 10 %, measured on the node. `Latency`: the
    time of a call with 1 row. `Throughput`: rows per second in calls of 32 rows. `Memory`: the resident memory of a
    process with the variant. `Size`: the bytes of the compressed variant. Default: Latency.
    """
    accuracy_floor: AccuracyFloor = AccuracyFloor()
    """The minimum accuracy of a variant."""
    max_score_change: Annotated[float, number(0.0001, 1)] = MAX_SCORE_CHANGE
    """The maximum change of any number of an answer to the samples, as a part of the largest number of the output or
    of 1, whichever is larger. From 0.0001 to 1. Default: 0.1.
    """
    parallelism: Parallelism | None = None
    """The model is cut into stages that run one after the other in different replicas. Only for a model that is too
    large for one node: on CPUs it is slower than one replica. Must be the only field of `spec.optimization`. If unset,
    each replica holds the whole model.
    """

    @property
    def stages(self) -> int:
        """How many replicas hold one copy of the model."""
        return 1 if self.parallelism is None else self.parallelism.stages


SPEC_RULES: Final = (
    rule(
        "!has(self.optimization) || has(self.optimization.parallelism) || (has(self.serving) "
        "&& has(self.serving.engine) && self.serving.engine in ['ONNXRuntime', 'Auto'])",
        "needs ONNX Runtime, which serves the variants: set spec.serving.engine: ONNXRuntime or Auto, or leave "
        "spec.optimization out",
        field=".optimization",
    ),
    rule(
        "!has(self.optimization) || !has(self.optimization.parallelism) || !has(self.serving) "
        "|| !has(self.serving.engine) || self.serving.engine == 'TensorFlow'",
        "needs TensorFlow, which serves the stages: leave spec.serving.engine out, or leave "
        "spec.optimization.parallelism out",
        field=".optimization.parallelism",
    ),
    rule(
        "!has(self.optimization) || !has(self.optimization.parallelism) || !has(self.scaling) "
        "|| !has(self.scaling.minReplicas)",
        "is only allowed with a fixed number of replicas, because all stages have the same number: set "
        "spec.scaling.replicas in place of minReplicas and maxReplicas, or leave parallelism out",
        field=".optimization.parallelism",
    ),
)
"""What ``spec.optimization`` needs of the other fields of ``spec``."""


class VariantReason(StrEnum):
    """Why a replica serves a variant."""

    BEST = "Best"
    REFUSED = "Refused"
    NO_SAMPLES = "NoSamples"
    NO_ENGINE = "NoEngine"
    NOT_PREPARED = "NotPrepared"


VARIANT_PATTERN: Final = "^[A-Za-z0-9]{1,40}$"


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The variant of a model that serves, as a replica reported it."""

    name: Annotated[str, Field(max_length=40)]
    """The variant that serves, such as StaticInt8 or StructuredPruning50. Float is the model as it was converted, or as
    TensorFlow calls it.
    """
    reason: VariantReason
    """Best: the best variant within the bounds. Refused: no variant is within the bounds and better than the float
    model. NoSamples: there are no valid labelled samples beside the model. NoEngine: TensorFlow serves the model.
    NotPrepared: variants could not be made.
    """
    message: Message = ""
    """The measured figures, and the variants that were refused, with the reason of each."""

    def describe(self) -> str:
        """Without a full stop."""
        return f"{self.name} ({self.reason.value}): {self.message}"
