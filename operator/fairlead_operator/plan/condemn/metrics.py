"""One measurement of one metric: from sums or an answer to a result with its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from fairlead_operator.api.analysis_status import SHORT_MESSAGE_MAX, MetricPhase, Result
from fairlead_operator.api.counts import AMOUNT_MAX, Sums
from fairlead_operator.evidence import compare
from fairlead_operator.evidence.compare import Compared, Finding, Histogram
from fairlead_operator.evidence.share import Share
from fairlead_operator.state.analysis import Accuracy, Counted, Disagreement, Drift, ErrorRatio, Latency, Metric, Query
from fairlead_operator.state.knowledge import Known, Unknown

SIGNIFICANCE = 0.05
"""How likely a rollout's candidate that is no worse than its limits is taken back, over all metrics and steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """How messages call the revision that is judged, and the one that it is compared with."""

    judged: str
    other: str


IN_STEPS = Sides(judged="candidate", other="stable")
DIGITS = 6
"""Of what people are shown; nothing is computed from it."""

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
    metric: Metric, kind: Counted, sums: Sums, *, before: Result | None, alpha: float, sides: Sides = IN_STEPS
) -> Result:
    """Concludes nothing below the metric's minimum of samples."""
    found = _measure(kind, sums, alpha, sides)
    finding, words = found.compared.finding, found.words
    fewest = found.samples if found.others is None else min(found.samples, found.others)
    if fewest < metric.min_samples:
        finding = Finding.UNDECIDED
        each = "" if found.others is None else " of each revision"
        words = f"{words}; a result needs at least {metric.min_samples:,}{each}"
    counted = _counted(metric.name, _PHASES[finding], before)
    return Result(
        name=metric.name,
        phase=_PHASES[finding],
        value=_shown(found.compared.value),
        limit=_shown(found.compared.limit),
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
        value=_shown(value),
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


def _measure(kind: Counted, sums: Sums, alpha: float, sides: Sides) -> _Measured:
    mine, other = sums.candidate, sums.stable
    match kind:
        case ErrorRatio():
            return _errors(kind, sums, alpha, sides)
        case Latency():
            return _latency(kind, sums, alpha, sides)
        case Disagreement(maximum=maximum):
            compared = compare.with_limit(Share(hits=mine.disagreed, total=mine.pairs), maximum, alpha)
            answers = _share(compared.value, mine.pairs, "shadowed requests")
            words = f"answers that disagree: {answers}; allowed: {_percent(maximum)}"
            return _Measured(compared=compared, samples=mine.pairs, others=None, words=words)
        case Accuracy(margin=margin):
            return _accuracy(sums, margin, alpha, sides)
        case Drift(maximum=maximum):
            one, two = (Histogram(bounds=sums.scale.scores, counts=_filled(c.scores, sums)) for c in (mine, other))
            compared = compare.distance(one, two, limit=maximum, alpha=alpha)
            words = f"distance of the scores: {_number(compared.value)}; allowed: {maximum:g}"
            return _Measured(compared=compared, samples=one.total, others=two.total, words=words)
    assert_never(kind)


def _filled(counts: tuple[int, ...], sums: Sums) -> tuple[int, ...]:
    """A revision without a score yet has a histogram of zeros."""
    return counts + (0,) * (len(sums.scale.scores) + 1 - len(counts))


def _errors(kind: ErrorRatio, sums: Sums, alpha: float, sides: Sides) -> _Measured:
    mine, other = sums.candidate, sums.stable
    if kind.maximum is not None:
        one = Share(hits=mine.server_errors, total=mine.requests)
        compared = compare.with_limit(one, kind.maximum, alpha)
        words = f"failed requests: {sides.judged} {_share(one.value, one.total)}; allowed: {_percent(kind.maximum)}"
        return _Measured(compared=compared, samples=one.total, others=None, words=words)
    # Both have the same clients: a revision that refuses more of what they send is worse, too.
    one, two = (Share(hits=c.server_errors + c.client_errors, total=c.requests) for c in (mine, other))
    compared = compare.with_stable(one, two, margin=kind.margin, alpha=alpha)
    failed = f"{sides.judged} {_share(one.value, one.total)}, {sides.other} {_share(two.value, two.total)}"
    words = f"failed requests: {failed}; allowed: {_points(kind.margin)} more"
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _latency(kind: Latency, sums: Sums, alpha: float, sides: Sides) -> _Measured:
    bounds = sums.scale.durations_s
    size = len(bounds) + 1
    one, two = (
        Histogram(bounds=bounds, counts=counters.durations + (0,) * (size - len(counters.durations)))
        for counters in (sums.candidate, sums.stable)
    )
    mine = f"p{kind.quantile * 100:g} latency: {sides.judged} {_seconds(one, kind.quantile)}"
    if kind.maximum_s is not None:
        compared = compare.quantile_with_limit(one, q=kind.quantile, limit=kind.maximum_s, alpha=alpha)
        words = f"{mine}; allowed: {kind.maximum_s:g} s"
        return _Measured(compared=compared, samples=one.total, others=None, words=words)
    compared = compare.quantile_with_stable(one, two, q=kind.quantile, ratio=kind.ratio, alpha=alpha)
    other = f"{sides.other} {_seconds(two, kind.quantile)}"
    words = f"{mine}, {other}; allowed: {kind.ratio:g} times the {sides.other} latency"
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _accuracy(sums: Sums, margin: float, alpha: float, sides: Sides) -> _Measured:
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
    right, labelled = _share(compared.value, one.total, "labelled"), _share(two.rest.value, two.total, "labelled")
    words = f"correct predictions: {sides.judged} {right}, {sides.other} {labelled}; allowed: {_points(margin)} less"
    return _Measured(compared=compared, samples=one.total, others=two.total, words=words)


def _shown(value: float | None) -> float | None:
    """A number as the status shows it: rounded, and none where it is beyond what the API server holds exactly."""
    if value is None or not abs(value) <= AMOUNT_MAX:
        return None
    return float(f"{value:.{DIGITS}g}")


def _share(value: float | None, total: int, what: str = "") -> str:
    """A part of ``total``, with the words ``what`` for other things than requests."""
    if value is None:
        return f"no {'labelled predictions' if what == 'labelled' else what or 'requests'} yet"
    return f"{_percent(value)} of {total:,}{f' {what}' if what else ''}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _points(margin: float) -> str:
    points = f"{100 * margin:.3g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def _number(value: float | None) -> str:
    return "no scores yet" if value is None else f"{value:.3g}"


def _seconds(histogram: Histogram, q: float) -> str:
    value = histogram.quantile(q)
    if value is None:
        return "no requests yet"
    words = f"at most {value:g} s" if math.isfinite(value) else f"above {histogram.bounds[-1]:g} s"
    return f"{words} ({histogram.total:,} requests)"
