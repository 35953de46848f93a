"""The steps of each strategy, as values in a list."""

from __future__ import annotations

from typing import assert_never

from fairlead_operator.api.spec import Strategy
from fairlead_operator.state.desired import SetWeight, Step
from fairlead_operator.state.route import FULL_WEIGHT


def steps_of(strategy: Strategy) -> tuple[Step, ...]:
    """What is done one after the other while traffic moves. Recreate has stopped the old revision before."""
    match strategy:
        case Strategy.ROLLING_UPDATE | Strategy.RECREATE:
            return (SetWeight(weight=FULL_WEIGHT),)
        case _:
            assert_never(strategy)
