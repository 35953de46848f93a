"""The bound of what lies outside of the extremes of a sample, against its distribution and against drawn samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fairlead_runtime.model import tolerance
from fairlead_runtime.model.tolerance import Extremes

Array = np.ndarray[Any, Any]
FAILURE = 0.001


@pytest.mark.parametrize("rows", [20, 300, 5000])
def test_one_side_is_the_power_of_a_share(rows: int) -> None:
    """Half of `FAILURE` is for samples without rows outside; then (1 - share) ** rows is that half."""
    share = tolerance.share_outside(Extremes(rows=rows, sides=1), FAILURE)
    assert (1 - share) ** rows == pytest.approx(FAILURE / 2)


@pytest.mark.parametrize(("rows", "cuts"), [(50, 5), (400, 24), (2000, 60)])
def test_the_share_is_that_of_the_binomial_distribution(rows: int, cuts: int) -> None:
    share = tolerance.share_outside(Extremes(rows=rows, sides=cuts), FAILURE)
    fewer = math.fsum(math.comb(rows, each) * share**each * (1 - share) ** (rows - each) for each in range(cuts))
    assert fewer == pytest.approx(FAILURE / 2)


def test_no_rows_promise_nothing() -> None:
    assert tolerance.share_outside(Extremes(rows=0, sides=2), FAILURE) == 1
    assert tolerance.share_outside(Extremes(rows=6, sides=6), FAILURE) == 1
    assert tolerance.share_outside(Extremes(rows=30, sides=2, outside=40), FAILURE) == 1


@pytest.mark.parametrize(
    "bounds", [Extremes(rows=0, sides=1), Extremes(rows=9, sides=25), Extremes(rows=9, sides=5, outside=7)]
)
def test_the_rows_that_are_needed_are_the_fewest(bounds: Extremes) -> None:
    needed = tolerance.rows_needed(bounds, 0.05, FAILURE)
    shares = [
        tolerance.share_outside(Extremes(rows=rows, sides=bounds.sides, outside=bounds.outside), FAILURE)
        for rows in (needed - 1, needed)
    ]
    assert shares[0] > 0.05 >= shares[1]


def test_bounds_together_are_of_the_smallest_sample() -> None:
    parts = [Extremes(rows=40, sides=4, outside=1), Extremes(rows=20, sides=1)]
    assert tolerance.combine(parts) == Extremes(rows=20, sides=5, outside=1)
    assert tolerance.combine([]) == Extremes(rows=0, sides=0)


@pytest.mark.parametrize("dependence", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("infinite", [0.0, 0.02])
def test_drawn_samples_exceed_the_bound_as_seldom_as_it_says(dependence: float, infinite: float) -> None:
    """Boxes around 60 rows of three columns, at a failure of one in ten; the share outside is that of 4,000 rows."""
    rng = np.random.default_rng(8)

    def draw(rows: int) -> Array:
        common = rng.normal(size=(rows, 1))
        made = dependence * common + math.sqrt(1 - dependence**2) * rng.normal(size=(rows, 3))
        # Rounded, so that many rows are alike.
        made = np.round(made, 1)
        made[rng.random(rows) < infinite, 1] = np.inf
        return made

    fresh = draw(4000)
    exceeded = 0
    for _ in range(400):
        sample = draw(60)
        outside = ~np.isfinite(sample).all(axis=1)
        low, high = sample[~outside].min(axis=0), sample[~outside].max(axis=0)
        share = 1 - ((fresh >= low) & (fresh <= high)).all(axis=1).mean()
        exceeded += share > tolerance.share_outside(Extremes(rows=60, sides=6, outside=int(outside.sum())), 0.1)
    assert exceeded <= 40
