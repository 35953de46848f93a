"""The steps of each strategy, as values in a list."""

from __future__ import annotations

from typing import assert_never

from fairlead_operator.api.spec import Rollout, RolloutStep, Strategy
from fairlead_operator.state.desired import Pause, SetWeight, Step
from fairlead_operator.state.route import FULL_WEIGHT


def steps_of(rollout: Rollout) -> tuple[Step, ...]:
    """What is done one after the other while traffic moves. Recreate has stopped the old revision before.

    A list that doesn't end with all traffic is followed by it: see ``plan.steps``.
    """
    match rollout.strategy:
        case Strategy.ROLLING_UPDATE | Strategy.RECREATE:
            return (SetWeight(weight=FULL_WEIGHT),)
        case Strategy.BLUE_GREEN:
            return (Pause(duration_s=None),)
        case Strategy.CANARY:
            return tuple(_step(step) for step in rollout.steps or ())
        case _ as never:
            assert_never(never)


def _step(step: RolloutStep) -> Step:
    if step.set_weight is not None:
        return SetWeight(weight=step.set_weight * FULL_WEIGHT // 100)
    return Pause(duration_s=step.pause.duration_seconds if step.pause is not None else None)
