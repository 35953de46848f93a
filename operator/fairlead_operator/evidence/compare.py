"""Whether a candidate is worse than its limit, is proved not to be, or neither yet.

Every question is put as a non-inferiority test: a *limit* is what the stable revision does plus a margin, or a fixed
number. "Worse" and "within" are each said wrongly with probability ``alpha`` at the most, however often one looks;
half of it goes to the candidate's counts and half to the stable revision's where both are uncertain.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum

from fairlead_operator.evidence import share as shares
from fairlead_operator.evidence.share import Share


class Finding(StrEnum):
    WORSE = "worse"
    WITHIN = "within"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A finding with its numbers: the candidate's ``value`` beside the ``limit`` that it was held to."""

    finding: Finding
    value: float | None
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """``counts`` has one more entry than ``bounds``: what lies above the last; an entry counts up to its bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def up_to(self) -> list[Share]:
        """For each bound the share of what is not above it."""
        total = self.total
        return [Share(hits=hits, total=total) for hits in itertools.accumulate(self.counts[: len(self.bounds)])]

    def quantile(self, q: float) -> float | None:
        """The bound below which the share ``q`` lies; infinite above the last bound, None without data."""
        if not self.total:
            return None
        found = (bound for bound, below in zip(self.bounds, self.up_to(), strict=True) if below.hits >= q * below.total)
        return next(found, float("inf"))


def with_limit(candidate: Share, limit: float, alpha: float) -> Compared:
    """A share that has to stay at or below a fixed limit."""
    if shares.exceeds(candidate, limit, alpha):
        return Compared(finding=Finding.WORSE, value=candidate.value, limit=limit)
    within = shares.is_below(candidate, limit, alpha)
    return Compared(finding=Finding.WITHIN if within else Finding.UNDECIDED, value=candidate.value, limit=limit)


def with_stable(candidate: Share, stable: Share, *, margin: float, alpha: float) -> Compared:
    """A share that may exceed the stable revision's by ``margin``; the limit shown is the stable one's plus that."""
    half = alpha / 2
    limit = stable.value + margin if stable.value is not None else None
    if limit is None or candidate.value is None:
        return Compared(finding=Finding.UNDECIDED, value=candidate.value, limit=limit)
    # The first question is a quick one: what isn't proved against the stable one's own value isn't against its bound.
    finding = Finding.UNDECIDED
    if shares.exceeds(candidate, limit, half):
        if shares.exceeds(candidate, shares.upper(stable, half) + margin, half):
            finding = Finding.WORSE
    elif shares.is_below(candidate, limit, half) and shares.is_below(
        candidate, shares.lower(stable, half) + margin, half
    ):
        finding = Finding.WITHIN
    return Compared(finding=finding, value=candidate.value, limit=limit)


def quantile_with_limit(candidate: Histogram, *, q: float, limit: float, alpha: float) -> Compared:
    """A quantile that has to stay at or below a limit.

    It is above a bound if and only if less than the share ``q`` lies below that bound: a question on one share. Where
    the limit lies between two of the histogram's bounds, worse is above the upper and within is below the lower one.
    """
    value = candidate.quantile(q)
    if value is None:
        return Compared(finding=Finding.UNDECIDED, value=None, limit=limit)
    below = list(zip(candidate.bounds, candidate.up_to(), strict=True))
    above = next((share.rest for bound, share in below if bound >= limit), None)
    beneath = next((share.rest for bound, share in reversed(below) if bound <= limit), None)
    finding = Finding.UNDECIDED
    if above is not None and shares.exceeds(above, 1 - q, alpha):
        finding = Finding.WORSE
    elif beneath is not None and shares.is_below(beneath, 1 - q, alpha):
        finding = Finding.WITHIN
    return Compared(finding=finding, value=value, limit=limit)


def quantile_with_stable(candidate: Histogram, stable: Histogram, *, q: float, ratio: float, alpha: float) -> Compared:
    """A quantile that may be ``ratio`` times the stable revision's.

    The stable one's is taken at its upper bound: the first histogram bound below which the share ``q`` surely lies.
    As shares below growing bounds grow together, that one bound is wrong with the probability of one share.
    """
    half = alpha / 2
    sure = (bound for bound, below in zip(stable.bounds, stable.up_to(), strict=True) if shares.exceeds(below, q, half))
    surely_below = next(sure, None)
    if surely_below is None:
        return Compared(finding=Finding.UNDECIDED, value=candidate.quantile(q), limit=None)
    return quantile_with_limit(candidate, q=q, limit=surely_below * ratio, alpha=half)


def distance(candidate: Histogram, stable: Histogram, *, limit: float, alpha: float) -> Compared:
    """The greatest difference of the two shares below any one bound (Kolmogorov and Smirnov's), held to a limit."""
    pairs = list(zip(candidate.up_to(), stable.up_to(), strict=True))
    gaps = [abs(c.hits / c.total - s.hits / s.total) for c, s in pairs if c.total and s.total]
    if not gaps:
        return Compared(finding=Finding.UNDECIDED, value=None, limit=limit)
    each = alpha / (4 * len(pairs))
    if max(gaps) > limit:
        found = any(_apart(c, s, limit, each) for c, s in pairs)
        finding = Finding.WORSE if found else Finding.UNDECIDED
    else:
        found = all(_together(c, s, limit, each) for c, s in pairs)
        finding = Finding.WITHIN if found else Finding.UNDECIDED
    return Compared(finding=finding, value=max(gaps), limit=limit)


def _apart(one: Share, other: Share, limit: float, alpha: float) -> bool:
    return shares.exceeds(one, shares.upper(other, alpha) + limit, alpha) or shares.exceeds(
        other, shares.upper(one, alpha) + limit, alpha
    )


def _together(one: Share, other: Share, limit: float, alpha: float) -> bool:
    return shares.is_below(one, shares.lower(other, alpha) + limit, alpha) and shares.is_below(
        other, shares.lower(one, alpha) + limit, alpha
    )
