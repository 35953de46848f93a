"""One measurement of one metric: from sums or an answer to a result with its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from fairlead_operator.api.analysis_status import SHORT_MESSAGE_MAX, MetricPhase
from fairlead_operator.evidence import compare
from fairlead_operator.evidence.compare import Compared, Finding, Histogram
from fairlead_operator.evidence.share import Share
from fairlead_operator.state.analysis import (
    Accuracy,
    Counted,
    Disagreement,
    Drift,
    ErrorRatio,
    Latency,
    Metric,
    Query,
    Result,
)
from fairlead_operator.state.analysis_memory import shown
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.measurements import Sums

SIGNIFICANCE = 0.05
"""How likely a rollout's candidate that is no worse than its limits is taken back, over all metrics and steps."""
STABLE = "the stable revision's"

_PHASES: Mapping[Finding, MetricPhase] = {
    Finding.WORSE: MetricPhase.FAILED,
    Finding.WITHIN: MetricPhase.SUCCESSFUL,
    Finding.UNDECIDED: MetricPhase.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """``samples`` of the candidate, ``others`` of the stable revision; None where it isn't asked for any."""

    compared: Compared
    samples: int
    others: int | None
    words: str


def of_counts(
    metric: Metric, kind: Counted, sums: Sums, *, before: Result | None, alpha: float, other: str = STABLE
) -> Result:
    """Concludes nothing below the metric's minimum of samples; ``other`` is whose counts the candidate is beside."""
    found = _measure(kind, sums, alpha, other)
    finding, words = found.compared.finding, found.words
    fewest = found.samples if found.others is None else min(found.samples, found.others)
    if fewest < metric.min_samples:
        finding = Finding.UNDECIDED
        words = f"{words}; nothing is concluded below {metric.min_samples:,} of each"
    counted = _counted(metric.name, _PHASES[finding], before)
    return Result(
        name=metric.name,
        phase=_PHASES[finding],
        value=shown(found.compared.value),
        limit=shown(found.compared.limit),
        samples=found.samples,
        failed=counted.failed,
        inconclusive=counted.inconclusive,
        message=words[:SHORT_MESSAGE_MAX],
    )


def of_answer(metric: Metric, query: Query, answer: Known[float | None] | Unknown, before: Result | None) -> Result:
    """An answer that is no number tells nothing; one that can't be had is an error."""
    match answer:
        case Unknown(reason=reason):
            phase, value, words = MetricPhase.ERROR, None, reason
        case Known(value=None):
            phase, value, words = MetricPhase.INCONCLUSIVE, None, "the query gives no number"
        case Known(value=float() as value):
            phase = _of_value(query, value)
            words = f"the query gives {value:g}"
        case _:
            raise TypeError(f"{answer} is no answer")
    counted = _counted(metric.name, phase, before)
    return Result(
        name=metric.name,
        phase=phase,
        value=shown(value),
        samples=(before.samples if before is not None else 0) + (value is not None),
        failed=counted.failed,
        inconclusive=counted.inconclusive,
        message=words[:SHORT_MESSAGE_MAX],
    )


def _of_value(query: Query, value: float) -> MetricPhase:
    if math.isnan(value):
        return MetricPhase.INCONCLUSIVE
    if query.failure is not None and query.failure.has(value):
        return MetricPhase.FAILED
    if query.success is None or query.success.has(value):
        return MetricPhase.SUCCESSFUL
    return MetricPhase.FAILED if query.failure is None else MetricPhase.INCONCLUSIVE


def _counted(name: str, phase: MetricPhase, before: Result | None) -> Result:
    failed, inconclusive = (before.failed, before.inconclusive) if before is not None else (0, 0)
    return Result(
        name=name,
        phase=phase,
        failed=failed + (phase is MetricPhase.FAILED),
        inconclusive=inconclusive + (phase is MetricPhase.INCONCLUSIVE),
    )


def _measure(kind: Counted, sums: Sums, alpha: float, whose: str) -> _Measured:
    mine, other = sums.candidate, sums.stable
    match kind:
        case ErrorRatio():
            return _errors(kind, sums, alpha, whose)
        case Latency():
            return _latency(kind, sums, alpha, whose)
        case Disagreement(maximum=maximum):
            compared = compare.with_limit(Share(hits=mine.disagreed, of=mine.pairs), maximum, alpha)
            words = f"{_percent(compared.value)} of {mine.pairs:,} shadowed requests disagree, {_percent(maximum)} may"
            return _Measured(compared=compared, samples=mine.pairs, others=None, words=words)
        case Accuracy(margin=margin):
            return _accuracy(sums, margin, alpha, whose)
        case Drift(maximum=maximum):
            one, two = (Histogram(bounds=sums.scale.scores, counts=_filled(c.scores, sums)) for c in (mine, other))
            compared = compare.distance(one, two, limit=maximum, alpha=alpha)
            words = f"the scores are {_number(compared.value)} apart, {maximum:g} may be"
            return _Measured(compared=compared, samples=one.total, others=two.total, words=words)
    assert_never(kind)


def _filled(counts: tuple[int, ...], sums: Sums) -> tuple[int, ...]:
    """A revision without a score yet has a histogram of zeros."""
    return counts + (0,) * (len(sums.scale.scores) + 1 - len(counts))


def _errors(kind: ErrorRatio, sums: Sums, alpha: float, whose: str) -> _Measured:
    mine, other = sums.candidate, sums.stable
    if kind.maximum is not None:
        one = Share(hits=mine.server_errors, of=mine.requests)
        compared = compare.with_limit(one, kind.maximum, alpha)
        words = f"{_percent(one.value)} of {one.of:,} requests failed, {_percent(kind.maximum)} may"
        return _Measured(compared=compared, samples=one.of, others=None, words=words)
    # Both have the same clients: a revision that refuses more of what they send is worse, too.
    one, two = (Share(hits=c.server_errors + c.client_errors, of=c.requests) for c in (mine, other))
    compared = compare.with_stable(one, two, margin=kind.margin, alpha=alpha)
    words = (
        f"{_percent(one.value)} of {one.of:,} requests failed, {_percent(two.value)} of {whose} "
        f"{two.of:,}; {_percent(kind.margin)} more may"
    )
    return _Measured(compared=compared, samples=one.of, others=two.of, words=words)


def _latency(kind: Latency, sums: Sums, alpha: float, whose: str) -> _Measured:
    bounds = sums.scale.durations_s
    size = len(bounds) + 1
    one, two = (
        Histogram(bounds=bounds, counts=counters.durations + (0,) * (size - len(counters.durations)))
        for counters in (sums.candidate, sums.stable)
    )
    told = f"p{kind.quantile * 100:g} of {one.total:,} requests is {_seconds(one, kind.quantile)}"
    if kind.maximum_s is not None:
        compared = compare.quantile_with_limit(one, q=kind.quantile, limit=kind.maximum_s, alpha=alpha)
        words = f"{told}, {kind.maximum_s:g} s may be"
        return _Measured(compared=compared, samples=one.total, others=None, words=words)
    compared = compare.quantile_with_stable(one, two, q=kind.quantile, ratio=kind.ratio, alpha=alpha)
    other = f"{_seconds(two, kind.quantile)} of {whose} {two.total:,}"
    words = f"{told}, {other}; {kind.ratio:g} times that may be"
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _accuracy(sums: Sums, margin: float, alpha: float, whose: str) -> _Measured:
    """Compared by what was wrong, told by what was right."""
    mine, other = sums.candidate, sums.stable
    one = Share(hits=mine.labelled - mine.correct, of=mine.labelled)
    two = Share(hits=other.labelled - other.correct, of=other.labelled)
    wrong = compare.with_stable(one, two, margin=margin, alpha=alpha)
    compared = Compared(
        finding=wrong.finding,
        value=1 - wrong.value if wrong.value is not None else None,
        limit=1 - wrong.limit if wrong.limit is not None else None,
    )
    words = (
        f"{_percent(compared.value)} of {one.of:,} labelled predictions are right, {_percent(two.rest.value)} of "
        f"{whose} {two.of:,}; {_percent(margin)} less may be"
    )
    return _Measured(compared=compared, samples=one.of, others=two.of, words=words)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.3g} %"


def _number(value: float | None) -> str:
    return "not known to be" if value is None else f"{value:.3g}"


def _seconds(histogram: Histogram, q: float) -> str:
    value = histogram.quantile(q)
    if value is None:
        return "none"
    return f"at most {value:g} s" if math.isfinite(value) else f"above {histogram.bounds[-1]:g} s"
