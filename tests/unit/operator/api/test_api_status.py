from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from fairlead_operator.api import status, text

AT = datetime.datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


def _condition(message: str = "all is well") -> status.Condition:
    return status.Condition(
        type="Ready", status=status.ConditionStatus.TRUE, last_transition_time=AT, reason="Serving", message=message
    )


def test_a_status_equals_itself_after_the_api_server_stored_it() -> None:
    before = status.ModelDeploymentStatus(phase=status.Phase.READY, conditions=(_condition(),), ready_replicas=2)
    assert status.ModelDeploymentStatus.model_validate(before.to_wire()) == before


def test_times_are_whole_seconds_in_utc() -> None:
    assert _condition().model_dump(mode="json", by_alias=True)["lastTransitionTime"] == "2026-11-24T10:00:00Z"


def test_a_too_long_message_is_cut_with_a_note() -> None:
    message = _condition("x" * 5000).message
    assert len(message) == text.MESSAGE_MAX
    assert message.endswith("…")


def test_a_message_of_the_longest_length_is_unchanged() -> None:
    assert _condition("x" * text.MESSAGE_MAX).message == "x" * text.MESSAGE_MAX


def test_absent_fields_are_not_written() -> None:
    assert "candidateRevision" not in status.ModelDeploymentStatus().to_wire()


def test_a_time_without_its_zone_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValidationError):
        status.Quarantine(revision="0123456789", reason="LoadFailed", time=AT.replace(tzinfo=None))


def test_a_newer_operators_field_is_ignored_on_read() -> None:
    assert status.ModelDeploymentStatus.model_validate({"phase": "Ready", "mood": "good"}).phase is status.Phase.READY
