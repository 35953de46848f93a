"""Which candidate is recommended, and why. Pure: measured figures in, sentences out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fairlead_cli.comparison import figures
from fairlead_cli.comparison.figures import Measured
from fairlead_runtime.model.evaluation_record import Metric

LEVEL = 0.05
"""Of all tests between candidates together; each pair has an equal part of it (Bonferroni)."""

MEMORY_MARGIN = 0.05
"""Memory that differs by at most this part is called equal: the same process differs by some percent between starts."""

LATENCY_MARGIN = 0.1
"""A latency that is lower by less than this part of the other one is called equal, also where it is lower in each
round: two processes of the same model differ by some percent, which rounds within the processes can't show."""


class Objective(StrEnum):
    """What the best candidate has the best of."""

    LATENCY = "latency"
    ACCURACY = "accuracy"
    MEMORY = "memory"
    SIZE = "size"


_NEXT = {
    Objective.LATENCY: Objective.ACCURACY,
    Objective.ACCURACY: Objective.LATENCY,
    Objective.MEMORY: Objective.LATENCY,
    Objective.SIZE: Objective.LATENCY,
}
"""What decides between candidates that don't differ in the objective."""

_BY_TEST = (Objective.LATENCY, Objective.ACCURACY)
"""Figures that a statistical test compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Bounds that a candidate must keep; None is no bound. `metric_min` bounds the low end of the interval."""

    metric: Metric = Metric.ACCURACY
    metric_min: float | None = None
    latency_max_s: float | None = None
    memory_max_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The recommended candidate beside another one."""

    other: str
    accuracy: figures.SignTest
    accuracy_differs: bool
    latency: figures.SignTest
    latency_differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The candidate, the reason in one or two sentences, and its comparison with each other candidate."""

    name: str
    reason: str
    comparisons: Sequence[Comparison]


def level_of_a_pair(candidates: int) -> float:
    """The p-value at or below which two of so many candidates differ."""
    return LEVEL / max(1, candidates * (candidates - 1) // 2)


def rounds_needed(candidates: int) -> int:
    """The fewest rounds that can show a difference of latency between so many candidates."""
    rounds = 1
    while figures.sign_test(rounds, 0) > level_of_a_pair(candidates):
        rounds += 1
    return rounds


def find_violations(candidate: Measured, constraints: Constraints) -> Sequence[str]:
    """A sentence for each constraint that the candidate breaks.

    The lower bound of the accuracy's interval counts, and of the latency the median p99 with one row.
    """
    found = []
    low, p99 = candidate.record.interval.low, candidate.latency[1].p99.median
    if constraints.metric_min is not None and low < constraints.metric_min:
        bound = f"the lower bound of its {constraints.metric.value.lower()}"
        found.append(f"{bound} is {low:.4f}, below {constraints.metric_min:g}")
    if constraints.latency_max_s is not None and p99 > constraints.latency_max_s:
        limit = constraints.latency_max_s * 1e3
        found.append(f"its p99 with one row is {p99 * 1e3:.3f} ms, above {limit:g} ms")
    if constraints.memory_max_bytes is not None and candidate.memory_bytes > constraints.memory_max_bytes:
        limit = constraints.memory_max_bytes / 2**20
        found.append(f"its memory is {candidate.memory_bytes / 2**20:.1f} MiB, above {limit:.1f} MiB")
    return found


def recommend(candidates: Sequence[Measured], constraints: Constraints, objective: Objective) -> Recommendation | None:
    """The best of those that keep the constraints; None if there is none.

    Those that do not differ from the best one in the objective are equal to it, and the next figure decides.
    """
    allowed = [each for each in candidates if not find_violations(each, constraints)]
    if not allowed:
        return None
    level = level_of_a_pair(len(candidates))
    best = min(allowed, key=lambda each: _rank(each, objective))
    equal = [each for each in allowed if each is best or not _differs(best, each, objective, level)]
    chosen = min(equal, key=lambda each: _rank(each, _NEXT[objective]))
    comparisons = [_compare(chosen, each, level) for each in candidates if each is not chosen]
    reason = _reason(chosen, equal, objective, is_only=len(allowed) == 1)
    return Recommendation(name=chosen.name, reason=reason, comparisons=comparisons)


def _rank(candidate: Measured, objective: Objective) -> float:
    """Lower is better."""
    match objective:
        case Objective.LATENCY:
            return candidate.latency[1].p50.median
        case Objective.ACCURACY:
            return -candidate.record.value
        case Objective.MEMORY:
            return candidate.memory_bytes
        case Objective.SIZE:
            return candidate.size_bytes


def _differs(best: Measured, other: Measured, objective: Objective, level: float) -> bool:
    match objective:
        case Objective.LATENCY:
            return _latency_differs(best, other, level)
        case Objective.ACCURACY:
            return figures.compare_accuracy(best, other).p <= level
        case Objective.MEMORY:
            return other.memory_bytes - best.memory_bytes > MEMORY_MARGIN * best.memory_bytes
        case Objective.SIZE:
            return other.size_bytes != best.size_bytes


def _latency_differs(first: Measured, second: Measured, level: float) -> bool:
    low, high = sorted(each.latency[1].p50.median for each in (first, second))
    return low <= (1 - LATENCY_MARGIN) * high and figures.compare_latency(first, second).p <= level


def _compare(chosen: Measured, other: Measured, level: float) -> Comparison:
    accuracy, latency = figures.compare_accuracy(chosen, other), figures.compare_latency(chosen, other)
    return Comparison(
        other=other.name,
        accuracy=accuracy,
        accuracy_differs=accuracy.p <= level,
        latency=latency,
        latency_differs=_latency_differs(chosen, other, level),
    )


def _reason(chosen: Measured, equal: Sequence[Measured], objective: Objective, *, is_only: bool) -> str:
    if is_only:
        return "it is the only candidate that keeps the constraints"
    if len(equal) == 1:
        beyond = ", beyond chance" if objective in _BY_TEST else ""
        return f"it has the {_best(objective)} ({_figure(chosen, objective)}){beyond}"
    following = _NEXT[objective]
    others = ", ".join(each.name for each in equal if each is not chosen)
    margins = {Objective.MEMORY: f" by more than {MEMORY_MARGIN:.0%}", Objective.SIZE: ""}
    same = f"it does not differ from {others} in {objective.value}{margins.get(objective, ' beyond chance')}"
    if len({_rank(each, following) for each in equal}) == 1:
        return f"{same}, nor in {following.value}; it is the first of them on the command line"
    return f"{same}, and of these it has the {_best(following)} ({_figure(chosen, following)})"


def _best(objective: Objective) -> str:
    return "highest accuracy" if objective is Objective.ACCURACY else f"lowest {objective.value}"


def _figure(candidate: Measured, objective: Objective) -> str:
    match objective:
        case Objective.LATENCY:
            return f"p50 with one row {candidate.latency[1].p50.median * 1e3:.3f} ms"
        case Objective.ACCURACY:
            return f"{candidate.record.value:.4f}"
        case Objective.MEMORY:
            return f"{candidate.memory_bytes / 2**20:.1f} MiB"
        case Objective.SIZE:
            return f"{candidate.size_bytes / 2**20:.3f} MiB"
