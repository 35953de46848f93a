"""How many replicas the load of a revision needs: the policy that Ray Serve's autoscaling calls.

Ray pickles this module by value into its controller, so it imports nothing but the standard library. Ray bounds the
result to `min_replicas` and `max_replicas` and acts on it once it has pointed in one direction for `upscale_delay_s` or
`downscale_delay_s`. The policy itself has no parameters: Ray restarts the replicas of a deployment whose policy
changes, and doesn't where only the numbers beside it do.

Source: `ray/serve/autoscaling_policy.py` (`_apply_delay_logic`) and `ray/serve/_private/deploy_utils.py`
(`get_app_code_version`) of Ray 2.60. Tolerance and windows are those of Kubernetes' HorizontalPodAutoscaler:
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

TOLERANCE = 0.1
"""A load that differs by no more than this share from what the replicas are meant for changes nothing."""
ONGOING = "ongoing"
"""The name under which a replica reports its load: predictions that run or wait in it, as a mean over time."""
_STREAK = "fairlead_streak"
_ROUNDING = 1e-9


def decide(context: Any) -> tuple[int, dict[str, Any]]:
    """What Ray calls ten times a second for each deployment, with its `AutoscalingContext`.

    Answers the number of replicas, and the state that Ray hands in the next time.
    """
    config, aimed = context.config, context.target_num_replicas
    reported = (context.raw_metrics or {}).get(ONGOING, {})
    loads = mean_loads(reported, context.running_replicas)
    wanted = recommend(
        loads,
        running=len(context.running_replicas),
        target=config.target_ongoing_requests,
        aimed=aimed,
        least=context.capacity_adjusted_min_replicas,
        most=context.capacity_adjusted_max_replicas,
    )
    window_s = config.upscale_delay_s if wanted > aimed else config.downscale_delay_s
    streak = stabilise(
        context.policy_state.get(_STREAK, ()), wanted, aimed=aimed, now_s=context.current_time, window_s=window_s
    )
    return (streak[0][1] if streak else aimed), {_STREAK: streak}


def mean_loads(reported: Mapping[Any, Sequence[Any]], running: Collection[Any]) -> list[float]:
    """The mean load of each running replica that has reported; Ray has dropped points that are too old."""
    series = (reported[replica] for replica in running if reported.get(replica))
    return [sum(point.value for point in points) / len(points) for points in series]


def recommend(loads: Sequence[float], *, running: int, target: float, aimed: int, least: int, most: int) -> int:
    """The number of replicas at which each has `target` requests in hand; `aimed` where nothing else is certain.

    `loads` are those of the replicas that have reported, of all that are `running`. A silent one counts as idle where
    that makes more replicas necessary, and as fully loaded where that makes fewer sufficient.
    """
    load, silent = sum(loads), max(0, running - len(loads))
    wanted, meant_for = aimed, aimed * target
    if loads:
        if load > meant_for * (1 + TOLERANCE):
            wanted = _ceil(load / target)
        elif load + silent * target < meant_for * (1 - TOLERANCE):
            wanted = _ceil((load + silent * target) / target)
    return max(least, min(most, wanted))


def stabilise(
    streak: Sequence[tuple[float, int]], wanted: int, *, aimed: int, now_s: float, window_s: float
) -> list[tuple[float, int]]:
    """What was recommended in one direction, as (time, number); the first is the most cautious one in the window.

    Only what may still become the first is kept: numbers that fall on the way down, and rise on the way up. Empty
    where nothing is to change. Another direction begins from nothing, as Ray's own delay does.
    """
    if wanted == aimed:
        return []
    is_up = wanted > aimed
    kept = [(at_s, number) for at_s, number in streak if now_s - window_s <= at_s <= now_s]
    kept = [(at_s, number) for at_s, number in kept if (number > aimed) == is_up and number != aimed]
    while kept and (kept[-1][1] >= wanted if is_up else kept[-1][1] <= wanted):
        kept.pop()
    return [*kept, (now_s, wanted)]


def _ceil(number: float) -> int:
    return math.ceil(number - _ROUNDING)
