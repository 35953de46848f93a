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
    """How long the previous revision keeps running after a promotion."""

    seconds: Annotated[
        int,
        Field(
            ge=1,
            le=604800,
        ),
    ]
    """The length of the window in seconds, from the time at which every gateway confirmed the promotion. The replicas
    of both revisions run during this time.
    """


class RollingUpdate(ApiModel):
    """The size of the batches of a RollingUpdate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!(string(self.surge) in ['0', '0%']) || (has(self.unavailable) && !(string(self.unavailable) in "
                "['0', '0%']))",
                "must not be 0 if unavailable is 0: no replica could be replaced",
                field=".surge",
            )
        )
    )

    surge: CountOrPercent
    """The number of replicas that may run in addition to `spec.scaling.replicas`, as a number such as `1` or as a
    percentage such as `25%` (rounded up). Must not be 0 if `unavailable` is 0.
    """
    unavailable: CountOrPercent = "0"
    """The number of replicas that may be missing, as a number such as `1` or as a percentage such as `25%` (rounded
    down). Default: 0.
    """


class BlueGreen(ApiModel):
    """Options of the strategy BlueGreen."""

    auto_promote_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The number of seconds that a ready candidate waits before it is promoted automatically. If unset, it waits for
    `kubectl fairlead promote`.
    """
    scale_down_delay_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The number of seconds that the previous revision keeps running after the promotion. If `rollbackWindow` is
    longer, that applies instead. Does not enable automatic rollback. If both are unset, the previous revision is
    removed after the promotion.
    """
