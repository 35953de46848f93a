"""``spec.rollout.analysis`` as values with every default in it."""

from __future__ import annotations

from typing import Final

from fairlead_operator.api import analysis as wire
from fairlead_operator.api.spec import Rollout
from fairlead_operator.state.analysis import (
    Accuracy,
    Analysis,
    Between,
    Disagreement,
    Drift,
    ErrorRatio,
    Kind,
    Latency,
    Metric,
    Query,
)

ERROR_MARGIN: Final = 0.01
LATENCY_RATIO: Final = 1.5
MIN_SAMPLES: Final = 100
COUNT_INTERVAL_S: Final = 2
"""How often requests are counted for a step ``minSamples`` where nothing is analysed."""


def analysis_of(rollout: Rollout) -> Analysis | None:
    """What is measured while traffic moves; None where nothing asks for it."""
    given = rollout.analysis
    if given is None:
        counts = any(step.min_samples is not None for step in rollout.steps or ())
        return Analysis(interval_s=COUNT_INTERVAL_S) if counts else None
    return Analysis(
        metrics=tuple(_metric(metric) for metric in given.metrics),
        interval_s=given.interval_seconds,
        initial_delay_s=given.initial_delay_seconds,
        count=given.count,
        failure_limit=given.failure_limit,
        inconclusive_limit=given.inconclusive_limit,
        error_limit=given.error_limit,
        is_dry_run=given.dry_run,
    )


def _metric(metric: wire.Metric) -> Metric:
    return Metric(name=metric.name, kind=_kind(metric), min_samples=metric.min_samples or MIN_SAMPLES)


def _kind(metric: wire.Metric) -> Kind:
    if (query := metric.prometheus) is not None:
        return Query(text=query.query, success=_between(query.success), failure=_between(query.failure))
    if (latency := metric.latency) is not None:
        ratio = latency.ratio or LATENCY_RATIO
        return Latency(quantile=latency.quantile, ratio=ratio, maximum_s=latency.max_seconds)
    if metric.disagreement is not None:
        return Disagreement(maximum=metric.disagreement.max_percent / 100)
    if metric.accuracy is not None:
        return Accuracy(margin=metric.accuracy.margin_percent / 100)
    if metric.drift is not None:
        return Drift(maximum=metric.drift.max_distance)
    errors = metric.error_ratio or wire.ErrorRatio()
    margin = errors.margin_percent / 100 if errors.margin_percent is not None else ERROR_MARGIN
    return ErrorRatio(margin=margin, maximum=errors.max_percent / 100 if errors.max_percent is not None else None)


def _between(given: wire.Range | None) -> Between | None:
    return Between(least=given.min, most=given.max) if given is not None else None
