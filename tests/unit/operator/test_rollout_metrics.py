"""Rollouts and quarantines are counted once each, and a replica's own words make no new series."""

from __future__ import annotations

from typing import Any

import prometheus_client

from fairlead_operator.rollout_metrics import OUTCOMES, RolloutMetrics
from fairlead_operator.state import actions, reasons


def counts(registry: prometheus_client.CollectorRegistry, name: str) -> dict[str, float]:
    return {
        next(iter(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"fairlead_operator_{name}_total"
    }


def event(reason: reasons.Reason) -> actions.Event:
    return actions.Event(type=reasons.EventType.NORMAL, reason=reason, message="")


def quarantine(*entries: tuple[str, str, str]) -> dict[str, Any]:
    names = ("revision", "reason", "time")
    return {"quarantine": [dict(zip(names, entry, strict=True)) for entry in entries]}


def test_what_begins_and_ends_rollouts_is_counted_by_outcome_from_zero() -> None:
    registry = prometheus_client.CollectorRegistry()
    metrics = RolloutMetrics(registry)
    assert counts(registry, "rollouts") == dict.fromkeys(OUTCOMES.values(), 0)
    metrics.count({}, {}, (event(reasons.Reason.ROLLOUT_STARTED), event(reasons.Reason.SERVING)))
    metrics.count({}, {}, (event(reasons.Reason.PROMOTED), event(reasons.Reason.ROLLOUT_STARTED)))
    found = counts(registry, "rollouts")
    assert (found["Started"], found["Promoted"], sum(found.values())) == (2, 1, 3)


def test_a_revision_is_counted_when_it_comes_into_quarantine_and_again_after_a_retry() -> None:
    registry = prometheus_client.CollectorRegistry()
    metrics = RolloutMetrics(registry)
    first, second = ("a", "ModelCorrupt", "2026-01-02T00:00:00Z"), ("b", "Aborted", "2026-01-02T00:00:00Z")
    metrics.count({}, quarantine(first), ())
    metrics.count(quarantine(first), quarantine(first, second), ())
    metrics.count(quarantine(first, second), quarantine(second), ())
    metrics.count(quarantine(second), quarantine(("a", "ModelCorrupt", "2026-01-02T00:01:00Z"), second), ())
    assert counts(registry, "quarantines") == {"ModelCorrupt": 2, "Aborted": 1}


def test_ten_thousand_reasons_that_replicas_made_up_are_one_series() -> None:
    registry = prometheus_client.CollectorRegistry()
    metrics = RolloutMetrics(registry)
    for number in range(10_000):
        metrics.count({}, quarantine(("a", f"Reason{number}", "2026-01-02T00:00:00Z")), ())
    assert counts(registry, "quarantines") == {"Other": 10_000}
