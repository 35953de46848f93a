"""What two runs of a story may differ in: a wait that one of them did not need is no difference."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any, cast

from tests.faults import tally
from tests.faults.bench import Bench
from tests.faults.portrait import Names
from tests.faults.script import Write


def _tally(*phases: str | None) -> tally.Tally:
    writes = [
        Write(
            at_s=float(number),
            name="status",
            path="/apis/fairlead.dev/v1alpha1/namespaces/ns/modeldeployments/digits/status",
            body=json.dumps({"status": {"rollout": phase and {"phase": phase}}}).encode(),
            code=200,
        )
        for number, phase in enumerate(phases)
    ]
    before = tally.Before(status={"stableRevision": "revision1"}, route=[None], serve={})
    return tally.of(writes, before=before, names=Names(cast(Bench, SimpleNamespace(namespace="ns"))))


def _disagreements(calm: tally.Tally, here: tally.Tally) -> list[Any]:
    return tally.disagreements(calm, here, faults=1)


def test_a_deletion_that_has_to_wait_and_one_that_finds_nothing_left_to_wait_for_take_the_same_path() -> None:
    waited, at_once = _tally("Retiring", "Retired"), _tally("Retired")
    assert _disagreements(waited, at_once) == _disagreements(at_once, waited) == []


def test_a_deletion_that_leaves_out_the_end_of_traffic_takes_another_path() -> None:
    assert [line.partition(":")[0] for line in _disagreements(_tally("Retiring", "Retired"), _tally("Retiring"))] == [
        "path of status"
    ]


def test_a_time_without_a_rollout_between_two_is_no_other_path() -> None:
    at_once, later = _tally("Removing", "Starting"), _tally("Removing", None, "Starting")
    assert _disagreements(at_once, later) == _disagreements(later, at_once) == []


def test_a_rollout_that_never_begins_takes_another_path() -> None:
    assert [
        line.partition(":")[0] for line in _disagreements(_tally("Removing", "Starting"), _tally("Removing", None))
    ] == ["path of status"]


def test_one_own_conflict_is_explained_without_a_fault_and_two_are_not() -> None:
    calm = _tally("Removing")
    for conflicts in (1, 2):
        here = dataclasses.replace(calm, vain={"finalizer": conflicts})
        assert len(tally.disagreements(calm, here, faults=0)) == conflicts - 1
