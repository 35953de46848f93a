"""How often the analysis is wrong, and how many requests it needs: simulated rollouts with a fixed seed.

``python -m benchmarks.analysis_power [RUNS]`` prints the tables of docs/measurements.md. Each run is one step of a
canary at 25 %: requests come in looks of 200, the candidate's and the stable revision's are drawn, and after each look
the question is put again, so that every number includes the looking.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairlead_operator.evidence import compare
from fairlead_operator.evidence.compare import Compared, Finding, Histogram
from fairlead_operator.evidence.share import Share

SEED = 20261124
PER_LOOK = 200
LOOKS = 150
WEIGHT = 0.25
LEAST = 100
ALPHA = 0.05 / 6
"""0.05 for a rollout, over two metrics and three steps."""
BOUNDS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

Look = tuple[int, Compared]
Run = Callable[[np.random.Generator], Iterator[Look]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of candidate, and what is asked of it."""

    name: str
    runs: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``needed`` are the candidate's samples at which each run was decided."""

    runs: int
    worse: tuple[int, ...]
    within: tuple[int, ...]

    def share_worse(self) -> float:
        return len(self.worse) / self.runs

    def share_within(self) -> float:
        return len(self.within) / self.runs


def _splits(rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """The candidate's and the stable revision's requests of one look after the other."""
    for _ in range(LOOKS):
        candidate = int(rng.binomial(PER_LOOK, WEIGHT))
        yield candidate, PER_LOOK - candidate


def shares(candidate: float, stable: float, margin: float) -> Run:
    """Errors, or wrong answers among the labelled ones."""

    def run(rng: np.random.Generator) -> Iterator[Look]:
        mine, other = Share(hits=0, total=0), Share(hits=0, total=0)
        for m, n in _splits(rng):
            mine = Share(hits=mine.hits + int(rng.binomial(m, candidate)), total=mine.total + m)
            other = Share(hits=other.hits + int(rng.binomial(n, stable)), total=other.total + n)
            yield mine.total, compare.with_stable(mine, other, margin=margin, alpha=ALPHA)

    return run


def shares_after(candidate: float, before: float, margin: float, *, counted: int) -> Run:
    """A promoted revision beside ``counted`` requests of the one before, which get no more."""

    def run(rng: np.random.Generator) -> Iterator[Look]:
        mine, other = Share(hits=0, total=0), Share(hits=int(rng.binomial(counted, before)), total=counted)
        for _ in range(LOOKS):
            mine = Share(hits=mine.hits + int(rng.binomial(PER_LOOK, candidate)), total=mine.total + PER_LOOK)
            yield mine.total, compare.with_stable(mine, other, margin=margin, alpha=ALPHA)

    return run


def pairs(disagreeing: float, limit: float) -> Run:
    """Pairs of a shadow: all of the stable revision's requests are marked."""

    def run(rng: np.random.Generator) -> Iterator[Look]:
        mine = Share(hits=0, total=0)
        for m, _ in _splits(rng):
            mine = Share(hits=mine.hits + int(rng.binomial(m, disagreeing)), total=mine.total + m)
            yield mine.total, compare.with_limit(mine, limit, ALPHA)

    return run


def latencies(slower: float, q: float, ratio: float) -> Run:
    """Log-normal durations around 4 ms, the candidate's ``slower`` times as long."""

    def run(rng: np.random.Generator) -> Iterator[Look]:
        mine = np.zeros(len(BOUNDS_S) + 1, dtype=np.int64)
        other = np.zeros_like(mine)
        for m, n in _splits(rng):
            mine += _counted(0.004 * slower * rng.lognormal(0.0, 0.6, m))
            other += _counted(0.004 * rng.lognormal(0.0, 0.6, n))
            found = compare.quantile_with_stable(_histogram(mine), _histogram(other), q=q, ratio=ratio, alpha=ALPHA)
            yield int(mine.sum()), found

    return run


def _counted(durations_s: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(BOUNDS_S, durations_s), minlength=len(BOUNDS_S) + 1)


def _histogram(counts: np.ndarray) -> Histogram:
    return Histogram(bounds=BOUNDS_S, counts=tuple(int(count) for count in counts))


GOOD = (
    Case(name="errors: none in either, margin 1 point", runs=shares(0.0, 0.0, 0.01)),
    Case(name="errors: 1 % in both, margin 1 point", runs=shares(0.01, 0.01, 0.01)),
    Case(name="errors: exactly at the margin (1 % and 2 %)", runs=shares(0.02, 0.01, 0.01)),
    Case(name="latency: the same, p95, ratio 1.5", runs=latencies(1.0, 0.95, 1.5)),
    Case(name="latency: 1.5 times as long, p95, ratio 1.5", runs=latencies(1.5, 0.95, 1.5)),
    Case(name="accuracy: 95 % in both, margin 2 points", runs=shares(0.05, 0.05, 0.02)),
    Case(name="accuracy: exactly at the margin (95 % and 93 %)", runs=shares(0.07, 0.05, 0.02)),
    Case(name="disagreement: 0.5 %, limit 2 %", runs=pairs(0.005, 0.02)),
    Case(
        name="promoted, errors: exactly at the margin (2 % after 1 % of 1,000)",
        runs=shares_after(0.02, 0.01, 0.01, counted=1000),
    ),
    Case(name="disagreement: exactly at the limit of 2 %", runs=pairs(0.02, 0.02)),
)
BAD = (
    Case(name="errors: 5 % against none, margin 1 point", runs=shares(0.05, 0.0, 0.01)),
    Case(name="errors: 5 % against 1 %, margin 1 point", runs=shares(0.05, 0.01, 0.01)),
    Case(name="latency: 5 times as long, p95, ratio 1.5", runs=latencies(5.0, 0.95, 1.5)),
    Case(name="latency: 2.5 times as long, p95, ratio 1.5", runs=latencies(2.5, 0.95, 1.5)),
    Case(name="accuracy: 85 % against 95 %, margin 2 points", runs=shares(0.15, 0.05, 0.02)),
    Case(
        name="promoted, errors: 5 % after 1 % of 1,000, margin 1 point",
        runs=shares_after(0.05, 0.01, 0.01, counted=1000),
    ),
    Case(
        name="promoted, accuracy: 85 % after 95 % of 1,000, margin 2 points",
        runs=shares_after(0.15, 0.05, 0.02, counted=1000),
    ),
    Case(name="disagreement: 5 %, limit 2 %", runs=pairs(0.05, 0.02)),
    Case(name="disagreement: 30 %, limit 2 %", runs=pairs(0.30, 0.02)),
)


def simulate(case: Case, runs: int, *, looks: int = LOOKS) -> Result:
    """Each run goes on until it is decided, or to its last look."""
    worse, within = [], []
    for number in range(runs):
        for samples, compared in itertools.islice(case.runs(np.random.default_rng((SEED, number))), looks):
            if samples < LEAST or compared.finding is Finding.UNDECIDED:
                continue
            (worse if compared.finding is Finding.WORSE else within).append(samples)
            break
    return Result(runs=runs, worse=tuple(worse), within=tuple(within))


def _row(case: Case, result: Result) -> str:
    decided = result.worse + result.within
    median, most = (int(np.median(decided)), int(np.percentile(decided, 95))) if decided else (0, 0)
    taken, passed = 100 * result.share_worse(), 100 * result.share_within()
    return f"| {case.name} | {taken:.1f} % | {passed:.1f} % | {median:,} | {most:,} |"


def main(runs: int) -> None:
    for title, cases in (("Good candidates", GOOD), ("Bad candidates", BAD)):
        print(f"\n{title}, {runs} runs each\n")
        print("| candidate | found worse | found within | its samples, median | 95th percentile |")
        print("| --- | --- | --- | --- | --- |")
        for case in cases:
            print(_row(case, simulate(case, runs)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
