"""A RollingUpdate in batches: how many replicas of each revision, and which share of the traffic, one after the other.

Source: Kubernetes' meaning of maxSurge and maxUnavailable for a Deployment: a percentage of the surge is rounded up, of
the unavailable ones down, and where both come to nothing one may be unavailable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead_operator.api.strategies import RollingUpdate
from fairlead_operator.state.desired import Batch
from fairlead_operator.state.route import FULL_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``surge`` replicas more than desired may run, ``unavailable`` fewer may be ready."""

    surge: int
    unavailable: int


def limits(desired: RollingUpdate, replicas: int) -> Limits:
    surge = math.ceil(_share(desired.surge, replicas))
    unavailable = math.floor(_share(desired.unavailable, replicas))
    return Limits(surge=surge, unavailable=unavailable if surge or unavailable else 1)


def _share(desired: str, replicas: int) -> float:
    return int(desired[:-1]) * replicas / 100 if desired.endswith("%") else int(desired)


def batches(limit: Limits, replicas: int) -> tuple[Batch, ...]:
    """Each one grows the candidate, moves the traffic, and leaves the stable revision with what its share needs."""
    found: list[Batch] = []
    stable, candidate = stable_at_first(limit, replicas), 0
    while stable > 0:
        candidate = min(replicas, replicas + limit.surge - stable)
        stable = max(0, replicas - limit.unavailable - candidate)
        weight = math.ceil(FULL_WEIGHT * candidate / (candidate + stable))
        found.append(Batch(candidate=candidate, weight=weight, stable=stable))
    return tuple(found)


def stable_at_first(limit: Limits, replicas: int) -> int:
    """Without any surge the first new replica takes the place of an old one."""
    return replicas if limit.surge else max(0, replicas - limit.unavailable)
