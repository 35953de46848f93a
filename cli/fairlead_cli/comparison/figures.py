"""What was measured of a candidate, and the tests that say whether two candidates differ by more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.model.evaluation_record import EvaluationRecord

Array = np.ndarray[Any, Any]
ROWS = (1, 32)
"""Of the calls that are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median over the rounds, the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Quantiles of the calls of each round, in seconds of the wall clock, and how many calls there were."""

    p50_s: Sequence[float]
    p99_s: Sequence[float]
    calls: int

    @property
    def p50(self) -> Spread:
        return spread(self.p50_s)

    @property
    def p99(self) -> Spread:
        return spread(self.p99_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate. `right` is whether each sample was predicted right; `latency` is by the rows of a call.

    `memory_bytes` is what is resident, also of libraries that other processes have mapped; `pss_bytes` counts those in
    part, and so depends on what else runs.
    """

    name: str
    record: EvaluationRecord
    right: Array
    engine: str
    why: str
    latency: Mapping[int, Latency]
    load_s: float
    memory_bytes: int
    pss_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignTest:
    """A sign test of pairs: in how many the first is better, in how many the second, and the two-sided p-value."""

    first: int
    second: int
    p: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def compare_accuracy(first: Measured, second: Measured) -> SignTest:
    """McNemar's exact test: of the samples that only one of two models has right, each may be either's by chance.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947), 153-157. The exact form is the sign test of the discordant samples.
    """
    only_first = int(np.count_nonzero(first.right & ~second.right))
    only_second = int(np.count_nonzero(second.right & ~first.right))
    return SignTest(first=only_first, second=only_second, p=sign_test(only_first, only_second))


def compare_latency(first: Measured, second: Measured) -> SignTest:
    """The sign test over the rounds, in which both were called in turns: which one had the lower p50 with one row."""
    pairs = list(zip(first.latency[1].p50_s, second.latency[1].p50_s, strict=True))
    faster, slower = sum(a < b for a, b in pairs), sum(b < a for a, b in pairs)
    return SignTest(first=faster, second=slower, p=sign_test(faster, slower))


def sign_test(first: int, second: int) -> float:
    """The two-sided p-value of `first` against `second` successes, if either is equally likely in each pair.

    Source: W. J. Dixon and A. M. Mood, The statistical sign test, Journal of the American Statistical Association 41
    (1946), 557-566. The binomial tail is added up from logarithms, so that millions of pairs don't overflow.
    """
    pairs = first + second
    half = pairs * math.log(2)
    tail = math.fsum(
        math.exp(math.lgamma(pairs + 1) - math.lgamma(k + 1) - math.lgamma(pairs - k + 1) - half)
        for k in range(min(first, second) + 1)
    )
    return min(1.0, 2 * tail)
