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


def judge_counts(
    metric: Metric, kind: Counted, sums: Sums, *, before: Result | None, alpha: float, other: str = STABLE
) -> Result:
    """Concludes nothing below the metric's minimum of samples; ``other`` is whose counts the candidate is beside."""
    found = _measure(kind, sums, alpha, other)
    finding, words = found.compared.finding, found.words
    fewest = found.samples if found.others is None else min(found.samples, found.others)
    if fewest < metric.min_samples:
        finding = Finding.UNDECIDED
        words = f"{words}; {metric.min_samples:,} of each are needed for a result"
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


def judge_answer(metric: Metric, query: Query, answer: Known[float | None] | Unknown, before: Result | None) -> Result:
    """An answer that is no number decides nothing; an unavailable one is an error."""
    match answer:
        case Unknown(reason=reason):
            phase, value, words = MetricPhase.ERROR, None, reason
        case Known(value=None):
            phase, value, words = MetricPhase.INCONCLUSIVE, None, "the query returned no number"
        case Known(value=float() as value):
            phase = _judge_value(query, value)
            words = f"the query returned {value:g}"
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


def _judge_value(query: Query, value: float) -> MetricPhase:
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


def _measure(kind: Counted, sums: Sums, alpha: float, compared_with: str) -> _Measured:
    mine, other = sums.candidate, sums.stable
    match kind:
        case ErrorRatio():
            return _errors(kind, sums, alpha, compared_with)
        case Latency():
            return _latency(kind, sums, alpha, compared_with)
        case Disagreement(maximum=maximum):
            compared = compare.with_limit(Share(hits=mine.disagreed, total=mine.pairs), maximum, alpha)
            words = (
                f"{_percent(compared.value)} of {mine.pairs:,} shadowed requests disagree (limit: {_percent(maximum)})"
            )
            return _Measured(compared=compared, samples=mine.pairs, others=None, words=words)
        case Accuracy(margin=margin):
            return _accuracy(sums, margin, alpha, compared_with)
        case Drift(maximum=maximum):
            one, two = (Histogram(bounds=sums.scale.scores, counts=_filled(c.scores, sums)) for c in (mine, other))
            compared = compare.distance(one, two, limit=maximum, alpha=alpha)
            words = f"the distance of the scores is {_number(compared.value)} (limit: {maximum:g})"
            return _Measured(compared=compared, samples=one.total, others=two.total, words=words)
    assert_never(kind)


def _filled(counts: tuple[int, ...], sums: Sums) -> tuple[int, ...]:
    """A revision without a score yet has a histogram of zeros."""
    return counts + (0,) * (len(sums.scale.scores) + 1 - len(counts))


def _errors(kind: ErrorRatio, sums: Sums, alpha: float, compared_with: str) -> _Measured:
    mine, other = sums.candidate, sums.stable
    if kind.maximum is not None:
        one = Share(hits=mine.server_errors, total=mine.requests)
        compared = compare.with_limit(one, kind.maximum, alpha)
        words = f"{_percent(one.value)} of {one.total:,} requests failed (limit: {_percent(kind.maximum)})"
        return _Measured(compared=compared, samples=one.total, others=None, words=words)
    # Both have the same clients: a revision that refuses more of what they send is worse, too.
    one, two = (Share(hits=c.server_errors + c.client_errors, total=c.requests) for c in (mine, other))
    compared = compare.with_stable(one, two, margin=kind.margin, alpha=alpha)
    words = (
        f"{_percent(one.value)} of {one.total:,} requests failed; {_percent(two.value)} of {compared_with} "
        f"{two.total:,} (allowed: {_points(kind.margin)} more)"
    )
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _latency(kind: Latency, sums: Sums, alpha: float, compared_with: str) -> _Measured:
    bounds = sums.scale.durations_s
    size = len(bounds) + 1
    one, two = (
        Histogram(bounds=bounds, counts=counters.durations + (0,) * (size - len(counters.durations)))
        for counters in (sums.candidate, sums.stable)
    )
    mine = f"p{kind.quantile * 100:g} of {one.total:,} requests is {_seconds(one, kind.quantile)}"
    if kind.maximum_s is not None:
        compared = compare.quantile_with_limit(one, q=kind.quantile, limit=kind.maximum_s, alpha=alpha)
        words = f"{mine} (limit: {kind.maximum_s:g} s)"
        return _Measured(compared=compared, samples=one.total, others=None, words=words)
    compared = compare.quantile_with_stable(one, two, q=kind.quantile, ratio=kind.ratio, alpha=alpha)
    other = f"{_seconds(two, kind.quantile)} of {compared_with} {two.total:,}"
    words = f"{mine}; {other} (allowed: {kind.ratio:g} times that)"
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _accuracy(sums: Sums, margin: float, alpha: float, compared_with: str) -> _Measured:
    """Compared by what was wrong, described by what was right."""
    mine, other = sums.candidate, sums.stable
    one = Share(hits=mine.labelled - mine.correct, total=mine.labelled)
    two = Share(hits=other.labelled - other.correct, total=other.labelled)
    wrong = compare.with_stable(one, two, margin=margin, alpha=alpha)
    compared = Compared(
        finding=wrong.finding,
        value=1 - wrong.value if wrong.value is not None else None,
        limit=1 - wrong.limit if wrong.limit is not None else None,
    )
    words = (
        f"{_percent(compared.value)} of {one.total:,} labelled predictions are right; {_percent(two.rest.value)} of "
        f"{compared_with} {two.total:,} (allowed: {_points(margin)} less)"
    )
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.3g} %"


def _points(margin: float) -> str:
    points = f"{100 * margin:.3g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _seconds(histogram: Histogram, q: float) -> str:
    value = histogram.quantile(q)
    if value is None:
        return "none"
    return f"at most {value:g} s" if math.isfinite(value) else f"above {histogram.bounds[-1]:g} s"
