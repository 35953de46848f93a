"""The steps of each strategy, as values in a list, and what decides besides the weight while they are taken."""

from __future__ import annotations

from typing import assert_never

from fairlead_operator.api import routing
from fairlead_operator.api.spec import Rollout, Strategy
from fairlead_operator.api.steps import RolloutStep
from fairlead_operator.desired import batches
from fairlead_operator.state.desired import Analyse, MinSamples, Pause, SetReplicas, SetWeight, Step
from fairlead_operator.state.route import FULL_WEIGHT, Match, MatchKind, Routing


def limits(rollout: Rollout, replicas: int) -> batches.Limits:
    """Without this setting all replicas of the new revision stand beside all of the old one."""
    if rollout.rolling_update is None or rollout.strategy is not Strategy.ROLLING_UPDATE:
        return batches.Limits(surge=replicas, unavailable=0)
    return batches.limits(rollout.rolling_update, replicas)


def effective(rollout: Rollout, replicas: int) -> Strategy:
    """Where a RollingUpdate may neither add a replica nor has to keep one, nothing but Recreate is left of it."""
    is_bare = replicas > 0 and batches.stable_at_first(limits(rollout, replicas), replicas) == 0
    return Strategy.RECREATE if is_bare else rollout.strategy


def steps_of(rollout: Rollout, replicas: int) -> tuple[Step, ...]:
    """What is done one after the other while traffic moves. Recreate has stopped the old revision before.

    A list that doesn't end with all traffic is followed by it: see ``plan.rollout.steps``.
    """
    match rollout.strategy:
        case Strategy.ROLLING_UPDATE if rollout.rolling_update is not None:
            return batches.batches(limits(rollout, replicas), replicas) or (SetWeight(weight=FULL_WEIGHT),)
        case Strategy.ROLLING_UPDATE | Strategy.RECREATE:
            return (SetWeight(weight=FULL_WEIGHT),)
        case Strategy.BLUE_GREEN:
            blue_green = rollout.blue_green
            return (Pause(duration_s=blue_green.auto_promote_seconds if blue_green is not None else None),)
        case Strategy.SHADOW:
            # A dry run decides nothing, so it can't be what a person's word waits for either.
            is_decided = rollout.analysis is not None and not rollout.analysis.dry_run
            return (Analyse() if is_decided else Pause(duration_s=None),)
        case Strategy.CANARY:
            return tuple(_step(step) for step in rollout.steps or ())
        case _ as never:
            assert_never(never)


def routing_of(rollout: Rollout) -> Routing:
    """What a person set beside the strategy that can use it; the API server refuses it beside another."""
    matches = rollout.match or ()
    return Routing(
        matches=tuple(_match(match) for match in matches if rollout.strategy in _WAITS),
        sticky_header=_sticky(rollout) if rollout.strategy is Strategy.CANARY else None,
        shadow=_shadow(rollout) if rollout.strategy is Strategy.SHADOW else 0,
    )


_WAITS = (Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.SHADOW)


def _match(match: routing.Match) -> Match:
    if match.header is not None:
        return Match(kind=MatchKind.HEADER, name=match.header.lower(), value=match.value)
    return Match(kind=MatchKind.COOKIE, name=match.cookie or "", value=match.value)


def _sticky(rollout: Rollout) -> str | None:
    return rollout.sticky.header.lower() if rollout.sticky is not None else None


def _shadow(rollout: Rollout) -> int:
    return rollout.shadow.percent * FULL_WEIGHT // 100 if rollout.shadow is not None else 0


def rollback_window_s(rollout: Rollout) -> int:
    return rollout.rollback_window.seconds if rollout.rollback_window is not None else 0


def warm_s(rollout: Rollout) -> int:
    """How long the previous revision stays warm after a promotion: the longer of both settings."""
    blue_green = rollout.blue_green
    delay_s = blue_green.scale_down_delay_seconds if blue_green is not None else None
    return max(rollback_window_s(rollout), delay_s or 0)


def _step(step: RolloutStep) -> Step:
    if step.set_weight is not None:
        return SetWeight(weight=step.set_weight * FULL_WEIGHT // 100)
    if step.min_samples is not None:
        return MinSamples(requests=step.min_samples)
    if step.analysis is not None:
        return Analyse()
    if step.set_replicas is not None:
        return SetReplicas(count=step.set_replicas)
    return Pause(duration_s=step.pause.duration_seconds if step.pause is not None else None)
