"""Steps that follow each other are one write of the status, and what somebody waits for is recognised."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator import drafts
from fairlead_operator.state import actions, keys, reasons

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
KEY = keys.ModelKey(builders.NAMESPACE, builders.NAME)
CONDITION = {"lastTransitionTime": "2026-01-02T00:00:00Z", "reason": "R", "message": "", "observedGeneration": 1}
STORED = {
    "phase": "Starting",
    "observedGeneration": 1,
    "conditions": [
        {**CONDITION, "type": "Ready", "status": "False"},
        {**CONDITION, "type": "Available", "status": "True"},
    ],
}


def update(status: dict[str, Any], patch: dict[str, Any] | None, *messages: str) -> actions.StatusUpdate:
    events = tuple(
        actions.Event(type=reasons.EventType.NORMAL, reason=reasons.Reason.SERVING, message=message)
        for message in messages
    )
    return actions.StatusUpdate(key=KEY, status=status, patch=patch, events=events, written_at=NOW)


def begun(**changes: Any) -> drafts.Draft:
    draft = drafts.follow(
        None, builders.model_deployment(status=STORED), update({**STORED, **changes}, changes), now_s=3.0
    )
    assert draft is not None
    return draft


def test_a_status_that_is_as_it_is_stored_is_no_draft() -> None:
    assert drafts.follow(None, builders.model_deployment(status=STORED), update(STORED, None), now_s=3.0) is None
    first = begun(replicas=1)
    assert drafts.follow(first, first.stored, update(STORED, {"replicas": None}), now_s=4.0) is None


def test_the_steps_of_several_passes_are_one_patch_from_what_is_stored_with_all_their_events() -> None:
    stored = builders.model_deployment(status=STORED)
    first = drafts.follow(None, stored, update({**STORED, "replicas": 1}, {"replicas": 1}, "one"), now_s=3.0)
    both = {**STORED, "replicas": 1, "readyReplicas": 1}
    second = drafts.follow(first, stored, update(both, {"readyReplicas": 1}, "two"), now_s=4.0)
    assert second is not None
    assert second.update.patch == {"replicas": 1, "readyReplicas": 1}
    assert [event.message for event in second.update.events] == ["one", "two"]
    assert (second.began_s, second.view.status.ready_replicas) == (3.0, 1)
    assert drafts.follow(second, stored, update(both, None), now_s=5.0) is second


@pytest.mark.parametrize(
    ("changes", "is_awaited"),
    [
        ({"replicas": 1}, False),
        ({"phase": "RollingOut"}, False),
        ({"observedGeneration": 2}, True),
        ({"stableRevision": "0123456789"}, True),
        ({"conditions": [{**CONDITION, "type": "Ready", "status": "True"}, STORED["conditions"][1]]}, True),  # type: ignore[index]
        ({"conditions": [STORED["conditions"][0], {**CONDITION, "type": "Available", "status": "False"}]}, True),  # type: ignore[index]
        (
            {
                "conditions": [
                    {**CONDITION, "type": "Ready", "status": "False", "message": "m"},
                    STORED["conditions"][1],
                ]
            },
            False,
        ),  # type: ignore[index]
    ],
)
def test_a_generation_a_verdict_and_a_condition_are_awaited_and_how_far_a_model_is_is_not(
    changes: dict[str, Any], is_awaited: bool
) -> None:
    assert begun(**changes).is_awaited == is_awaited
