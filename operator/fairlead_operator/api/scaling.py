"""What a person writes in ``spec.scaling``: a fixed number of replicas, or bounds and a target to scale by."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import SERVER_DEFAULT, rule, rules

REPLICAS_MAX: Final = 1000
SCALE_UP_S: Final = 0
SCALE_DOWN_S: Final = 300
_IS_AUTOMATIC = "has(self.minReplicas) && has(self.maxReplicas)"
_HOW = (
    "set spec.scaling.minReplicas, maxReplicas and target, as in "
    "{minReplicas: 1, maxReplicas: 4, target: {ongoingRequests: 8}}"
)
_Seconds = Annotated[int, Field(ge=0, le=3600)]


class ScalingTarget(ApiModel):
    """The load that each replica is meant for."""

    ongoing_requests: Annotated[int, Field(ge=1, le=10000)]
    """The mean number of requests in a replica, running or waiting, that automatic scaling aims at. Must be at most
    `spec.serving.maxOngoingRequests` plus `maxQueuedRequests`.
    """


class ScaleUp(ApiModel):
    """How fast replicas are added."""

    stabilization_seconds: _Seconds = SCALE_UP_S
    """How long the load has to ask for more replicas before they are added. The smallest number that it asked for in
    this time is used. Default: 0.
    """


class ScaleDown(ApiModel):
    """How fast replicas are removed."""

    stabilization_seconds: _Seconds = SCALE_DOWN_S
    """How long the load has to ask for fewer replicas before some are removed. The largest number that it asked for in
    this time is used. Default: 300.
    """


class Scaling(ApiModel):
    """The number of replicas: fixed by `replicas`, or automatic between `minReplicas` and `maxReplicas`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.minReplicas) == has(self.maxReplicas)",
                f"needs both minReplicas and maxReplicas, or neither of them: {_HOW}",
            ),
            rule(
                f"!({_IS_AUTOMATIC}) || self.minReplicas <= self.maxReplicas",
                "must be at most spec.scaling.maxReplicas",
                field=".minReplicas",
            ),
            rule(
                "!has(self.minReplicas) || self.minReplicas >= 1",
                "must be at least 1, as a model can't be scaled to zero by its load: to stop it, set "
                "spec.scaling.replicas: 0 or spec.suspend: true",
                field=".minReplicas",
            ),
            rule(
                f"!({_IS_AUTOMATIC}) || has(self.target)",
                "is required for automatic scaling and says what each replica is meant for, as in {ongoingRequests: 8}",
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
    """The number of replicas of each revision that takes traffic. `kubectl scale` and a HorizontalPodAutoscaler change
    this field. With 0, requests get 503. With automatic scaling, the load never makes it fewer than `replicas`, and
    `maxReplicas` is still the limit. Default: 1.
    """
    min_replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] | None = None
    """The minimum number of replicas of automatic scaling, at least 1."""
    max_replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] | None = None
    """The maximum number of replicas of automatic scaling. A rollout runs two revisions, each up to this number."""
    target: ScalingTarget | None = None
    """The load that each replica is meant for. Required for automatic scaling."""
    scale_up: ScaleUp = ScaleUp()
    """How fast replicas are added. Only allowed for automatic scaling."""
    scale_down: ScaleDown = ScaleDown()
    """How fast replicas are removed. Only allowed for automatic scaling."""

    @property
    def is_automatic(self) -> bool:
        return self.min_replicas is not None
