"""Counters of what became of rollouts, counted when the status that says so was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import prometheus_client

from fairlead_operator.state import load_reasons
from fairlead_operator.state.actions import Event
from fairlead_operator.state.reasons import Reason

OUTCOMES = {
    Reason.ROLLOUT_STARTED: "Started",
    Reason.PROMOTED: "Promoted",
    Reason.ROLLED_BACK_AUTOMATICALLY: "RolledBackAutomatically",
    Reason.SUPERSEDED: "Superseded",
    Reason.REVERTED: "Reverted",
}
"""The events that begin or end a rollout. One that failed or was aborted is counted as a quarantine."""
OTHER = "Other"
REASONS = frozenset({*map(str, Reason), *load_reasons.BLAME})
"""A replica's own word for a failure is counted only where it is one of these: others could be any number."""


class RolloutMetrics:
    """Counters without the model's name: their number doesn't grow with models or with rollouts."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._rollouts = prometheus_client.Counter(
            "fairlead_operator_rollouts", "Rollouts that began, and by how they ended.", ["outcome"], registry=registry
        )
        self._quarantines = prometheus_client.Counter(
            "fairlead_operator_quarantines",
            "Revisions that failed or were given up by a person, by reason.",
            ["reason"],
            registry=registry,
        )
        for outcome in OUTCOMES.values():
            self._rollouts.labels(outcome)

    def count(self, before: Mapping[str, Any], after: Mapping[str, Any], events: Sequence[Event]) -> None:
        """Count what a status that was written says and the one before it did not; both as the API server has them."""
        for event in events:
            if (outcome := OUTCOMES.get(event.reason)) is not None:
                self._rollouts.labels(outcome).inc()
        known = {_entry(each) for each in before.get("quarantine") or ()}
        for each in after.get("quarantine") or ():
            if _entry(each) not in known:
                self._quarantines.labels(each["reason"] if each["reason"] in REASONS else OTHER).inc()


def _entry(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["revision"], entry["time"]
