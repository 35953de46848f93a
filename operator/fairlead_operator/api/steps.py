"""What a Canary does one after the other, in ``spec.rollout.steps``."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.analysis import AnalysisStep
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules


class PauseStep(ApiModel):
    """A pause of the rollout at the current weight."""

    duration_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The length of the pause in seconds, from the time at which every gateway confirmed the previous step. If unset,
    the pause lasts until `kubectl fairlead promote` or `kubectl fairlead resume`.
    """


class RolloutStep(ApiModel):
    """A step of a Canary. Exactly one field must be set."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.setWeight), has(self.pause), has(self.setReplicas), has(self.analysis), "
                "has(self.minSamples)].filter(x, x).size() == 1",
                "must have exactly one of setWeight, pause, setReplicas, analysis and minSamples, as in "
                "{setWeight: 25} or {pause: {durationSeconds: 60}}",
            )
        )
    )

    set_weight: Annotated[int, Field(ge=0, le=100)] | None = None
    """Sets the percentage of requests that go to the candidate. The step ends when every gateway confirmed it."""
    pause: PauseStep | None = None
    """Pauses the rollout for a time, or until a person continues it."""
    analysis: AnalysisStep | None = None
    """Waits until every metric of `spec.rollout.analysis` succeeded. Write it as `analysis: {}`."""
    min_samples: Annotated[int, Field(ge=1, le=1000000000)] | None = None
    """Waits until the candidate received this number of predictions in this step."""
    set_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Sets the number of replicas of the candidate, at most `spec.scaling.replicas`. Later steps must not set fewer. If
    it is the first step, it applies from the start of the rollout. Before the candidate gets all traffic, it is scaled
    to the full number.
    """
