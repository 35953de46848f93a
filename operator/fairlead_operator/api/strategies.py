"""What each strategy is told besides its steps: batches, a switch by itself, what stays warm, what if room lacks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import CountOrPercent
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules


class OnInsufficientCapacity(StrEnum):
    WAIT = "Wait"
    RECREATE = "Recreate"


class RollbackWindow(ApiModel):
    """The time after a promotion in which the revision before it is one map change away."""

    seconds: Annotated[
        int,
        Field(
            ge=1,
            le=604800,
            description="Within it a new revision that loses its readiness or crashes again and again is taken back, "
            "and a rollback starts nothing; both revisions' replicas run meanwhile.",
        ),
    ]


class RollingUpdate(ApiModel):
    """How far a RollingUpdate goes at a time; without it all new replicas start beside the old ones."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!(string(self.surge) in ['0', '0%']) || (has(self.unavailable) && !(string(self.unavailable) in "
                "['0', '0%']))",
                "must not be 0 where unavailable is 0 as well: then no replica could be changed for another",
                field=".surge",
            )
        )
    )

    surge: Annotated[
        CountOrPercent, Field(description="Replicas beyond the wished ones that may run; a percentage is rounded up.")
    ]
    unavailable: Annotated[
        CountOrPercent,
        Field(description="Wished replicas that may be missing; a percentage is rounded down. 0 unless set."),
    ] = "0"


class BlueGreen(ApiModel):
    """What a BlueGreen rollout does by itself."""

    auto_promote_seconds: Annotated[int, Field(ge=1, le=604800)] | None = Field(
        None, description="The new revision is promoted after so long without traffic; by a person alone unless set."
    )
    scale_down_delay_seconds: Annotated[int, Field(ge=1, le=604800)] | None = Field(
        None, description="The old revision stays warm for so long after the switch; it goes at once unless set."
    )
