"""An object is read as far as it can be: nothing that another version or a stranger wrote freezes it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.api import names
from fairlead_operator.desired import build
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, knowledge, observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.status import summary

REQUEST = {"id": "1", "verb": "Abort", "revision": "0123456789", "time": "2026-01-01T00:00:00Z"}


def view(status: dict[str, Any], **metadata: Any) -> observed.ModelDeploymentView:
    body = {
        "metadata": {
            "namespace": builders.NAMESPACE,
            "name": builders.NAME,
            "uid": "u",
            "resourceVersion": "1",
            "finalizers": [names.FINALIZER],
            **metadata,
        },
        "spec": {"model": {"uri": "file:///m"}},
        "status": status,
    }
    return objects.view_model(body)


@pytest.mark.parametrize(
    "shown",
    [
        {"phase": "Scaling"},
        {"conditions": [{"type": "Newer", "status": "Perhaps"}]},
        {"replicas": -1},
        {"phase": 7, "selector": ["x"], "endpoints": "nowhere"},
    ],
)
def test_fields_that_are_only_displayed_are_rewritten_when_unreadable(shown: dict[str, Any]) -> None:
    read = view({**shown, "stableRevision": "0123456789"})
    assert read.status_problem is None
    assert read.status.stable_revision == "0123456789"


@pytest.mark.parametrize(
    "time",
    ["2026-01-01T10:00:00Ztotally", "2026-01-01T10:00:00+99:99", "2026-01-01T10:00:00:5Z", "2026-01-01T10:00:00+24:00"],
)
def test_a_request_with_a_forged_time_is_read(time: str) -> None:
    read = view({"request": {**REQUEST, "time": time}})
    assert read.status_problem is None
    assert read.status.request is not None
    assert read.status.request.id == "1"


def test_an_unknown_verb_is_no_request() -> None:
    read = view({"request": {**REQUEST, "verb": "Skip"}})
    assert (read.status_problem, read.status.request) == (None, None)


@pytest.mark.parametrize(
    "remembered",
    [
        {"rollout": {"phase": "Bisecting", "startedAt": "2026-01-01T00:00:00Z"}},
        {"handledRequest": {"id": "1", "verb": "Skip", "outcome": "Done", "time": "2026-01-01T00:00:00Z"}},
        {"quarantine": "all"},
        {"attempts": [{"revision": 7}]},
    ],
)
def test_unreadable_memory_in_the_status_stops_the_model_with_a_reason(remembered: dict[str, Any]) -> None:
    read = view({**remembered, "phase": "Ready"})
    assert read.status_problem is not None
    (name,) = remembered
    assert read.status_problem.startswith(f"status.{name}")
    seen = builders.observed(object=knowledge.Known(read))
    desired = build.build(read, (), builders.BOUNDS)
    plan = planner.make(desired, seen, builders.BOUNDS, seen.observed_at)
    assert (type(plan.action), plan.reason) == (actions.Wait, Reason.STATUS_UNREADABLE)
    update = summary.summarise(desired, read, seen, plan=plan, outcome=actions.Done(), now=seen.observed_at)
    assert update.patch is not None
    assert name not in update.patch, "it stays as it is, for the version that can read it"
    stalled = next(c for c in update.status["conditions"] if c["type"] == "Stalled")  # type: ignore[attr-defined]
    assert (stalled["status"], stalled["reason"]) == ("True", "StatusUnreadable")


def test_a_deletion_needs_no_readable_status() -> None:
    read = view({"rollout": {"phase": "Bisecting"}}, deletionTimestamp="2026-01-01T00:00:00Z")
    seen = builders.observed(object=knowledge.Known(read))
    desired = build.build(read, (), builders.BOUNDS)
    plan = planner.make(desired, seen, builders.BOUNDS, seen.observed_at)
    assert plan.reason is not Reason.STATUS_UNREADABLE


def test_a_field_that_the_api_server_drops_is_named_in_a_condition() -> None:
    read = view({})
    seen = builders.observed(object=knowledge.Known(read), dropped_fields=("lastStableRevision",))
    desired = build.build(read, (), builders.BOUNDS)
    plan = planner.make(desired, seen, builders.BOUNDS, seen.observed_at)
    update = summary.summarise(desired, read, seen, plan=plan, outcome=actions.Done(), now=seen.observed_at)
    stalled = next(c for c in update.status["conditions"] if c["type"] == "Stalled")  # type: ignore[attr-defined]
    assert (stalled["status"], stalled["reason"]) == ("True", "CrdOutdated")
    assert "status.lastStableRevision" in stalled["message"]
