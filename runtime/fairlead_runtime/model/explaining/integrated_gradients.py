"""Integrated gradients: what each number of an input adds to a score, compared with a baseline.

The attribution of number i is `(x_i - b_i) * ∫ ∂f(b + a * (x - b)) / ∂x_i da` for a from 0 to 1. Completeness: the sum
of all attributions is f(x) - f(b).

Source: Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, 2017, https://arxiv.org/abs/1703.01365,
equation 1 and proposition 1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fairlead_runtime.model.explaining.gradient import Gradient
from fairlead_runtime.model.explaining.work import Work
from fairlead_runtime.model.predictor import Array

RESIDUAL_MAX = 0.05
"""Part of the difference of the scores by which the sum of the attributions may differ from it."""

_DIFFERENCE_MIN = 1e-6
"""A smaller difference of scores is within the rounding of float32, so it has no parts that could be compared."""


class NotFiniteError(Exception):
    """The gradient is infinite or NaN at a point between baseline and input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One row's way from its baseline, both of shape [1, ...], and the class whose score is explained."""

    baseline: Array
    row: Array
    target: int
    difference: float
    """The score of the row less that of the baseline; finite."""


def attribute(gradient: Gradient, path: Path, work: Work, *, steps: int) -> Array:
    """The attributions, float64 of the row's shape; `steps` is the number of points at which the gradient is taken.

    The points are those of Gauss and Legendre, which need the fewest for a smooth function.

    Raises:
        NotFiniteError: the gradient is not finite at one of the points.
    """
    points, weights = _points(steps)
    change = path.row.astype(np.float64) - path.baseline
    mean = np.zeros_like(change)
    for part in work.parts(steps, elements=path.row.size):
        shares = points[part].reshape(-1, *[1] * (path.row.ndim - 1))
        between = (path.baseline + shares * change).astype(path.row.dtype)
        _, found = gradient(between, path.target)
        if not np.isfinite(found).all():
            raise NotFiniteError("its gradient is not finite between the baseline and the input")
        mean += np.tensordot(weights[part], found.astype(np.float64), axes=1)
    return np.asarray(mean * change)


@functools.lru_cache(maxsize=16)
def _points(steps: int) -> tuple[Array, Array]:
    """Points from 0 to 1 and their weights, float64 of shape [steps]. Kept: 256 of them are eigenvalues of a matrix."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


def attribute_completely(gradient: Gradient, path: Path, work: Work, *, steps: int, most: int) -> tuple[Array, int]:
    """As `attribute`, with twice the steps until the sum is complete or there would be more than `most`.

    Returns:
        The attributions and their steps.
    """
    while True:
        found = attribute(gradient, path, work, steps=steps)
        if is_complete(found, path) or steps * 2 > most:
            return found, steps
        steps *= 2


def is_complete(attributions: Array, path: Path) -> bool:
    """Whether the sum of the attributions is the difference of the scores, up to RESIDUAL_MAX of it."""
    residual = abs(float(attributions.sum()) - path.difference)
    return residual <= max(RESIDUAL_MAX * abs(path.difference), _DIFFERENCE_MIN)
