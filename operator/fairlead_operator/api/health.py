"""What a rollout remembers of the health of the revision that it watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, with_config

from fairlead_operator.api.model import MEMORY, is_empty
from fairlead_operator.api.text import Time

CRASHES_MAX = 3
REPLICAS_SEEN_MAX = 16
REPLICA_ID_MAX = 64


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of the candidate with traffic, or of the promoted revision within the rollback window."""

    unwell_since: Time | None = None
    """The time at which the revision stopped being ready. Absent while it is ready."""
    is_crash: bool = False
    """Whether Ray reported the revision as unhealthy since it stopped being ready."""
    crashes: Annotated[tuple[Time, ...], Field(max_length=CRASHES_MAX)] = ()
    """The times of the last crashes. A crash is counted when Ray starts to report the revision as unhealthy, and when
    another replica is lost while it does. Replicas that are lost at the same time are one crash.
    """
    replicas: Annotated[
        tuple[Annotated[str, Field(max_length=REPLICA_ID_MAX)], ...],
        Field(max_length=REPLICAS_SEEN_MAX, exclude_if=is_empty),
    ] = ()
    """The IDs of the replicas that still ran when Ray last reported the revision as unhealthy."""
    is_restarting: bool = False
    """Whether the head of the Ray cluster restarted and the revision has not been ready since. Missing replicas do not
    count as a failure during this time.
    """
