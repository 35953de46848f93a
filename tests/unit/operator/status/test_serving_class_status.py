"""What a serving class says of itself, by one condition."""

from __future__ import annotations

import dataclasses
import datetime

from tests.support import builders

from fairlead_operator.api.status import ConditionStatus
from fairlead_operator.state.infrastructure import Problem
from fairlead_operator.state.reasons import Reason
from fairlead_operator.status import serving_class as status

GOOD = status.ObservedClass(name="small", generation=3, defaults=("small",))


def test_a_class_that_works_is_ready() -> None:
    found = status.settle(GOOD, builders.NOW)
    assert (found.status, found.reason, found.observed_generation) == (ConditionStatus.TRUE, "Ready", 3)


def test_a_class_with_one_worker_says_what_a_drain_costs() -> None:
    for workers, is_said in ((1, True), (2, False)):
        found = status.settle(dataclasses.replace(GOOD, workers_min=workers), builders.NOW)
        assert found.status is ConditionStatus.TRUE
        assert ("is drained" in found.message) is is_said


def test_two_defaults_are_both_named() -> None:
    for name in ("small", "large"):
        seen = dataclasses.replace(GOOD, name=name, defaults=("small", "large"))
        found = status.settle(seen, builders.NOW)
        assert (found.status, found.reason) == (ConditionStatus.FALSE, "SeveralDefaults")
        assert "small, large" in found.message
    other = dataclasses.replace(GOOD, name="other", defaults=("small", "large"))
    assert status.settle(other, builders.NOW).status is ConditionStatus.TRUE


def test_a_namespace_s_problem_is_the_class_s() -> None:
    problem = Problem(reason=Reason.KUBERAY_MISSING, message="The CRD is not installed.")
    found = status.settle(dataclasses.replace(GOOD, problems={"models": problem}), builders.NOW)
    assert (found.reason, found.message) == (
        "KubeRayMissing",
        "In namespace models: The CRD is not installed. Install KubeRay.",
    )


def test_a_spec_that_cannot_be_read_is_said_first() -> None:
    seen = dataclasses.replace(GOOD, unreadable="spec.image: Field required", defaults=("small", "large"))
    assert status.settle(seen, builders.NOW).reason == "InvalidSpec"


def test_the_time_changes_with_the_status_alone() -> None:
    first = status.settle(GOOD, builders.NOW)
    later = builders.NOW + datetime.timedelta(hours=1)
    assert status.settle(dataclasses.replace(GOOD, conditions=(first,)), later) == first
    problem = Problem(reason=Reason.KUBERAY_MISSING, message="The CRD is not installed.")
    changed = dataclasses.replace(GOOD, conditions=(first,), problems={"models": problem})
    assert status.settle(changed, later).last_transition_time == later
