"""How far sampled rows are from the reference statistics, beyond what chance allows: the formulas of the chart's rules.

Source: docs/decisions/0073. `tests/contract/test_drift_rules.py` holds the rules to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MARGIN = 0.1
"""An alert needs more than this of the proved distance."""


def distance(counts: Array, reference: Array) -> Array:
    """The part of the rows that lies in other bins, of counts with the shape [looks, bins]; 0 of a look without any."""
    rows = counts.sum(axis=-1)
    known = np.maximum(rows, 1)
    found = 0.5 * np.abs(counts / known[..., None] - reference / reference.sum()).sum(axis=-1)
    return np.where(rows > 0, found, 0.0)


def sampling_error(rows: Array, bins: int) -> Array:
    """Bound of the distance between the shares of so many rows and the probabilities that they were drawn with.

    It holds for all numbers of rows together, but for a probability of 3.6e-8. A row may lie in several bins by
    shares that are together 1: the bound is one of numbers from 0 to 1.
    """
    return np.sqrt((rows / 4 + 25) * (np.log(rows / 100 + 1) + 34.3 + 2 * 0.693147 * bins)) / rows


def reference_error(rows: int, bins: int) -> float:
    """The same for the fixed number of rows of the reference, but for 0.001 in 19 features together."""
    return float(np.sqrt((9.86 + 0.693147 * bins) / (2 * rows)))


def proved(counts: Array, reference: Array) -> Array:
    """The distance that is proved of counts with the shape [looks, bins]; nothing of a look without rows."""
    rows, bins = counts.sum(axis=-1), len(reference)
    errors = sampling_error(np.maximum(rows, 1), bins) + reference_error(round(float(reference.sum())), bins)
    return np.where(rows > 0, distance(counts, reference) - errors, -np.inf)
