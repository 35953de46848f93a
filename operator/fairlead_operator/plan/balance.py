"""How many replicas the stable revision needs beside a candidate: capacity goes with the traffic, never before it."""

from __future__ import annotations

import math

from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.plan.context import Context
from fairlead_operator.state.route import FULL_WEIGHT


def needed_for(context: Context, weight: int) -> int:
    """Replicas that the stable revision needs for its share beside a candidate of this weight."""
    least = context.desired.replicas - context.desired.unavailable
    return math.ceil((FULL_WEIGHT - weight) * least / FULL_WEIGHT)


def is_to_be_restored(context: Context) -> bool:
    """Whether the stable revision is too small for its traffic, and the candidate well enough to wait for it."""
    serving, rollout = context.serving, context.serving.rollout
    if rollout is None or rollout.phase is not RolloutPhase.SHIFTING or serving.candidate is None:
        return False
    if rollout.replicas is None or rollout.stable_replicas is None or not context.fewest_up(serving.candidate):
        return False
    is_well = rollout.health.unwell_since is None
    return is_well and rollout.weight > 0 and rollout.stable_replicas < context.desired.replicas
