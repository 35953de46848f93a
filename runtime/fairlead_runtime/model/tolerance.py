"""How many rows lie outside of the extremes of a sample of rows like them, at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Extremes:
    """Bounds of rows: the least or the most of so many, on so many sides. `outside` of the rows are within none."""

    rows: int
    sides: int
    outside: int = 0

    @property
    def cuts(self) -> int:
        """Rows to take off, outermost ones first, until all that is left is within the bounds."""
        return self.sides + (self.outside + 1 if self.outside else 0)


def combine(parts: Sequence[Extremes]) -> Extremes:
    """All bounds together, where those of fewer rows are of some of the others' rows."""
    return Extremes(
        rows=min((each.rows for each in parts), default=0),
        sides=sum(each.sides for each in parts),
        outside=sum(each.outside for each in parts),
    )


def share_outside(bounds: Extremes, failure: float) -> float:
    """The share of rows outside of the bounds, at most, where they come from the source that the sample came from.

    It is exceeded with a probability of `failure` at most, over all samples of independent rows and whatever their
    distribution. Taking off the outermost row once for each side leaves a region whose probability has the distribution
    Beta(rows + 1 - cuts, cuts), however the sides depend on each other; the bounds contain that region. Source: J. W.
    Tukey, "Nonparametric estimation, II. Statistically equivalent blocks and tolerance regions", Annals of Mathematical
    Statistics 18 (1947), and III, 19 (1948), for ties. Rows outside cost a cut each; their number is known
    only afterwards, so `failure` is divided over all numbers: 1 = sum of 1 / ((r + 1) (r + 2)) over r >= 0.
    """
    if bounds.cuts >= bounds.rows:
        return 1.0
    level = float(np.log(failure / ((bounds.outside + 1) * (bounds.outside + 2))))
    return _share(bounds.rows, bounds.cuts, level)


def rows_needed(bounds: Extremes, share: float, failure: float) -> int:
    """The fewest rows whose bounds, with as many cuts, leave at most this share outside."""
    level = float(np.log(failure / ((bounds.outside + 1) * (bounds.outside + 2))))
    low, high = bounds.cuts, 2 * bounds.cuts + 2
    while _log_tail(high, bounds.cuts, share) > level:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_tail(middle, bounds.cuts, share) <= level else (middle, high)
    return high


def _share(rows: int, cuts: int, level: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _log_tail(rows, cuts, middle) <= level else (middle, high)
    return high


def _log_tail(rows: int, cuts: int, share: float) -> float:
    """The logarithm of the probability that fewer than `cuts` of `rows` rows are among a share of all rows."""
    counts = np.arange(cuts)
    choices = np.concatenate([[0.0], np.cumsum(np.log((rows - counts[:-1]) / (counts[:-1] + 1)))])
    terms = choices + counts * np.log(share) + (rows - counts) * np.log1p(-share)
    return float(np.logaddexp.reduce(terms))
