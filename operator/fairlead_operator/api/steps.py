"""What a Canary does one after the other, in ``spec.rollout.steps``."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.analysis import AnalysisStep
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules


class PauseStep(ApiModel):
    """Waits at the weight that was reached."""

    duration_seconds: Annotated[int, Field(ge=1, le=604800)] | None = Field(
        None, description="How long; without it until `kubectl fairlead promote` or `resume`."
    )


class RolloutStep(ApiModel):
    """One step of a Canary: exactly one of its fields."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.setWeight), has(self.pause), has(self.setReplicas), has(self.analysis), "
                "has(self.minSamples)].filter(x, x).size() == 1",
                "must be exactly one of setWeight, pause, setReplicas, analysis and minSamples, as in "
                "{setWeight: 25} or {pause: {durationSeconds: 60}}",
            )
        )
    )

    set_weight: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="The candidate's share of the requests in percent."
    )
    pause: PauseStep | None = Field(None, description="Waits, for a time or until a person lets it go on.")
    analysis: AnalysisStep | None = Field(
        None, description="Waits until every metric of spec.rollout.analysis is proved within its limit."
    )
    min_samples: Annotated[int, Field(ge=1, le=1000000000)] | None = Field(
        None, description="Waits until the candidate has answered so many requests since this step began."
    )
    set_replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="The candidate's replicas from here on, at most spec.scaling.replicas; all of them before it takes "
        "all traffic. As the first step it holds from the start.",
    )
