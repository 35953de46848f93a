"""What a person writes in ``spec.scaling``: a fixed number of replicas, or bounds and a target to scale by."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import SERVER_DEFAULT, rule, rules

REPLICAS_MAX: Final = 1000
SCALE_UP_S: Final = 0
SCALE_DOWN_S: Final = 300
IDLE_S: Final = 300
HOLD_S: Final = 60
HOLD_MAX_S: Final = 600
_IS_AUTOMATIC = "has(self.minReplicas) && has(self.maxReplicas)"
_HOW = (
    "set spec.scaling.minReplicas, maxReplicas and target, as in "
    "{minReplicas: 1, maxReplicas: 4, target: {ongoingRequests: 8}}"
)
_Seconds = Annotated[int, Field(ge=0, le=3600)]


class ScalingTarget(ApiModel):
    """The target load of each replica."""

    ongoing_requests: Annotated[int, Field(ge=1, le=10000)]
    """The mean number of requests in each replica, running and waiting, at which the number of replicas is right. With
    more requests, replicas are added; with fewer, they are removed. Must be at most `spec.serving.maxOngoingRequests`
    plus `maxQueuedRequests`.
    """


class ScaleUp(ApiModel):
    """How fast replicas are added."""

    stabilization_seconds: _Seconds = SCALE_UP_S
    """The number of seconds that the load must stay high before replicas are added. The smallest number of replicas
    that the load required in this time is used. Default: 0.
    """


class ScaleDown(ApiModel):
    """How fast replicas are removed."""

    stabilization_seconds: _Seconds = SCALE_DOWN_S
    """The number of seconds that the load must stay low before replicas are removed. The largest number of replicas
    that the load required in this time is used. Default: 300.
    """


class ScaleToZero(ApiModel):
    """When the last replica of a model with `minReplicas: 0` is removed, and how long a request waits for a new one."""

    idle_seconds: Annotated[int, Field(ge=10, le=86_400)] = IDLE_S
    """The number of seconds without a request after which all replicas are removed. Default: 300."""
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_MAX_S)] = HOLD_S
    """The maximum number of seconds that a request waits in a gateway for a replica. After that it gets 503 with
    `Retry-After`. In each gateway at most `spec.serving.maxOngoingRequests` plus `maxQueuedRequests` requests wait.
    Default: 60.
    """


class Scaling(ApiModel):
    """The number of replicas: fixed by `replicas`, or automatic between `minReplicas` and `maxReplicas`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.minReplicas) == has(self.maxReplicas)",
                f"must have both minReplicas and maxReplicas, or neither of them: {_HOW}",
            ),
            rule(
                f"!({_IS_AUTOMATIC}) || self.minReplicas <= self.maxReplicas",
                "must be at most spec.scaling.maxReplicas",
                field=".minReplicas",
            ),
            rule(
                "!has(self.scaleToZero) || (has(self.minReplicas) && self.minReplicas == 0)",
                "is only allowed with spec.scaling.minReplicas: 0: set that, or leave it out",
                field=".scaleToZero",
            ),
            rule(
                f"!({_IS_AUTOMATIC}) || has(self.target)",
                "is required for automatic scaling: set the target load per replica, as in {ongoingRequests: 8}",
                field=".target",
            ),
            *(
                rule(
                    f"!has(self.{field}) || has(self.minReplicas) || has(self.maxReplicas)",
                    f"is only allowed for automatic scaling: {_HOW}, or leave it out",
                    field=f".{field}",
                )
                for field in ("target", "scaleUp", "scaleDown")
            ),
        )
    )

    replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX, json_schema_extra={SERVER_DEFAULT: 1})] = 1
    """The number of replicas. `kubectl scale` and a HorizontalPodAutoscaler change this field. With 0, the model is
    stopped and requests get 503. With automatic scaling, it is an additional lower limit, capped by `maxReplicas`; the
    default of 1 does not prevent scaling to zero with `minReplicas: 0`. Default: 1.
    """
    min_replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] | None = None
    """The minimum number of replicas of automatic scaling. With 0, all replicas are removed while the model gets no
    requests, and the next request waits until a replica is ready.
    """
    max_replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] | None = None
    """The maximum number of replicas of automatic scaling. During a rollout, it applies to each of the two revisions.
    If `minReplicas` and `maxReplicas` are unset, the number is fixed.
    """
    target: ScalingTarget | None = None
    """The target load of each replica. Required for automatic scaling, otherwise not allowed."""
    scale_up: ScaleUp = ScaleUp()
    """How fast replicas are added. Only allowed for automatic scaling."""
    scale_down: ScaleDown = ScaleDown()
    """How fast replicas are removed. Only allowed for automatic scaling."""
    scale_to_zero: ScaleToZero = ScaleToZero()
    """When all replicas are removed, and how long requests wait for a new one. Only allowed with `minReplicas: 0`."""

    @property
    def is_automatic(self) -> bool:
        return self.min_replicas is not None
