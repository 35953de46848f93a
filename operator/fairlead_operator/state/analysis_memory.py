"""An analysis as the status keeps it, and back."""

from __future__ import annotations

import dataclasses

from fairlead_operator.api.analysis_status import (
    AMOUNT_MAX,
    COUNT_MAX,
    GATEWAYS_MAX,
    SHORT_MESSAGE_MAX,
    AnalysisStatus,
    CountersStatus,
    MarkStatus,
    MetricStatus,
)
from fairlead_operator.state import mapping
from fairlead_operator.state.analysis import Result, Run
from fairlead_operator.state.measurements import Counters, Mark, Scale, Sums

DIGITS = 6
"""Of what people are shown; nothing is computed from it."""


def recall(status: AnalysisStatus) -> Run:
    return Run(
        phase=status.phase,
        started_at=status.started_at,
        measured_at=status.measured_at,
        count=status.count,
        errors=status.errors,
        message=status.message,
        sums=Sums(
            stable=_recall_counters(status.stable),
            candidate=_recall_counters(status.candidate),
            scale=Scale(durations_s=status.duration_bounds_seconds, scores=status.score_bounds),
            marks=tuple(_recall_mark(mark) for mark in status.marks),
        ),
        results=tuple(_recall_result(metric) for metric in status.metrics),
    )


def record(run: Run) -> AnalysisStatus:
    """Measurements beyond what the schema counts are judged like all others; they are counted no further."""
    sums = run.sums
    return AnalysisStatus(
        phase=run.phase,
        started_at=run.started_at,
        measured_at=run.measured_at,
        count=min(run.count, COUNT_MAX),
        errors=min(run.errors, COUNT_MAX),
        message=run.message,
        stable=_record_counters(sums.stable),
        candidate=_record_counters(sums.candidate),
        duration_bounds_seconds=sums.scale.durations_s,
        score_bounds=sums.scale.scores,
        marks=tuple(_record_mark(mark) for mark in sums.marks[:GATEWAYS_MAX]),
        metrics=tuple(_record_result(result) for result in run.results),
    )


def shown(value: float | None) -> float | None:
    """A number as the status shows it: rounded, and none where it is beyond what the API server holds exactly."""
    if value is None or not abs(value) <= AMOUNT_MAX:
        return None
    return float(f"{value:.{DIGITS}g}")


def _recall_mark(mark: MarkStatus) -> Mark:
    stable, candidate = _recall_counters(mark.stable), _recall_counters(mark.candidate)
    return Mark(gateway=mark.gateway, epoch=mark.epoch, stable=stable, candidate=candidate)


def _record_mark(mark: Mark) -> MarkStatus:
    stable, candidate = _record_counters(mark.stable), _record_counters(mark.candidate)
    return MarkStatus(gateway=mark.gateway, epoch=mark.epoch, stable=stable, candidate=candidate)


# Both sides name each count the same; the test of the memory holds that.
def _recall_counters(counters: CountersStatus) -> Counters:
    return Counters(**counters.model_dump())


def _record_counters(counters: Counters) -> CountersStatus:
    return CountersStatus(**dataclasses.asdict(counters))


def _recall_result(metric: MetricStatus) -> Result:
    return mapping.from_api(Result, metric)


def _record_result(result: Result) -> MetricStatus:
    return mapping.to_api(
        MetricStatus,
        result,
        value=shown(result.value),
        limit=shown(result.limit),
        failed=min(result.failed, COUNT_MAX),
        inconclusive=min(result.inconclusive, COUNT_MAX),
        message=result.message[:SHORT_MESSAGE_MAX],
    )
