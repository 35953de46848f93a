"""A share of requests and the bounds that hold for it at every look at once.

Each look at growing counts is another chance to be wrong by luck. The bounds here come from a process that would win
money against the truth with a small probability only, however long one goes on looking, so that nobody has to say
beforehand how often, or after how many requests, one looks.

Source: Ville's inequality for the supermartingale of a mixture of exponential tilts; Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49 (2021), sections 2 and 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TILTS = tuple(0.03 * 1.55**step for step in range(14))
"""Differences of log-odds that the process bets on, the same stake on each: from hardly visible to a thousandfold."""
_EXPM1_TILTS = tuple(math.expm1(tilt) for tilt in TILTS)
HALVINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``hits`` of ``total`` requests."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None

    @property
    def rest(self) -> Share:
        return Share(hits=self.total - self.hits, total=self.total)


def log_wealth(share: Share, at: float) -> float:
    """The logarithm of what a bet of 1 against "each request hits with probability ``at`` or less" has become.

    Its expectation never exceeds 1 while that is true, whatever the probabilities do below it.
    """
    terms = [
        tilt * share.hits - share.total * math.log1p(at * grown)
        for tilt, grown in zip(TILTS, _EXPM1_TILTS, strict=True)
    ]
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms) / len(terms))


def exceeds(share: Share, limit: float, alpha: float) -> bool:
    """Whether it is proved that the probability of a hit is greater than ``limit``.

    Over all looks together this is said wrongly with probability ``alpha`` at the most.
    """
    if limit >= 1 or not share.total or share.hits <= limit * share.total:
        return False
    return log_wealth(share, max(limit, 0.0)) >= math.log(1 / alpha)


def is_below(share: Share, limit: float, alpha: float) -> bool:
    """Whether it is proved that the probability of a hit is less than ``limit``."""
    return exceeds(share.rest, 1 - limit, alpha)


def lower(share: Share, alpha: float) -> float:
    """The greatest limit that the probability of a hit is proved to exceed; 0 where there is none."""
    low, high = 0.0, share.value or 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(share, middle, alpha) else (low, middle)
    return low


def upper(share: Share, alpha: float) -> float:
    """The least limit that the probability of a hit is proved to be below; 1 where there is none."""
    return 1 - lower(share.rest, alpha)
