"""Options of the strategies besides steps: batches, automatic promotion, the warm time, what to do without capacity."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import CountOrPercent
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules


class OnInsufficientCapacity(StrEnum):
    """What happens if the Ray cluster lacks the capacity for a new revision beside the old one."""

    WAIT = "Wait"
    RECREATE = "Recreate"


class RollbackWindow(ApiModel):
    """How long the previous revision stays ready after a promotion."""

    seconds: Annotated[
        int,
        Field(
            ge=1,
            le=604800,
        ),
    ]
    """The length of the window in seconds, from the moment when every gateway confirmed the promotion. Within it a
    promoted revision that fails is replaced by the previous one without a restart. The replicas of both revisions run
    in that time.
    """


class RollingUpdate(ApiModel):
    """The size of the batches of a RollingUpdate."""

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

    surge: CountOrPercent
    """The number of replicas that may run beyond `spec.scaling.replicas`, as a count or as a percentage rounded up.
    Must not be 0 if `unavailable` is 0.
    """
    unavailable: CountOrPercent = "0"
    """The number of replicas that may be unavailable, as a count or as a percentage rounded down. Default: 0."""


class BlueGreen(ApiModel):
    """Options of the strategy BlueGreen."""

    auto_promote_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The number of seconds that a ready candidate waits before it is promoted automatically. If unset, a person has to
    promote it.
    """
    scale_down_delay_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The number of seconds that the previous revision stays ready after the promotion. If unset, it is removed after
    the promotion.
    """
