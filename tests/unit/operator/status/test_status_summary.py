from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import builders
from tests.support.merge_patch import merged
from tests.support.virtual_evaluations import evaluation_of
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, merge_patch
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import recall
from fairlead_operator.status import fold, summary


def served(**spec: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply("digits", model={"uri": "file:///m/1"}, **spec)
    world.settle()
    return world


def summarise(world: VirtualWorld, outcome: actions.Outcome | None = None, *, later_s: int = 0) -> actions.StatusUpdate:
    view, seen = world.view("digits"), world.observe("digits")
    desired = build.build(view, seen.revisions, world.bounds)
    plan = planner.make(desired, seen, world.bounds, world.now)
    now = world.now + datetime.timedelta(seconds=later_s)
    return summary.summarise(desired, view, seen, plan=plan, outcome=outcome or actions.Done(), now=now)


def condition(update: actions.StatusUpdate, kind: str) -> dict[str, Any]:
    conditions: Any = update.status["conditions"]
    return next(c for c in conditions if c["type"] == kind)


def test_nothing_is_written_when_nothing_changed() -> None:
    update = summarise(served(), later_s=3600)
    assert update.patch is None
    assert update.events == ()


def test_a_transition_time_changes_only_with_the_status() -> None:
    world = served()
    before = condition(summarise(world), "Ready")
    next(iter(world.applications.values())).running = 0
    missing = condition(summarise(world, later_s=60), "Ready")
    assert (before["status"], missing["status"]) == ("True", "False")
    assert before["lastTransitionTime"] < missing["lastTransitionTime"]
    accepted = condition(summarise(world, later_s=60), "Accepted")
    assert accepted["lastTransitionTime"] == condition(summarise(served()), "Accepted")["lastTransitionTime"]


def test_a_refused_write_is_reported_and_a_conflict_is_not() -> None:
    world = VirtualWorld()
    world.apply("digits", model={"uri": "file:///m/1"})
    refused = summarise(world, actions.Refused(reason=Reason.WRITE_FAILED, message="503"))
    assert condition(refused, "Reconciling")["reason"] == Reason.WRITE_FAILED
    message = condition(refused, "Reconciling")["message"]
    assert message == "The operator failed to add the finalizer to ModelDeployment digits: 503. It retries."
    conflict = summarise(world, actions.Refused(reason=Reason.CONFLICT, message="somebody was faster"))
    assert condition(conflict, "Reconciling")["reason"] == Reason.INITIALIZING


def test_a_stable_revision_that_loses_a_replica_is_degraded_and_recovers() -> None:
    world = served(scaling={"replicas": 2})
    application = next(iter(world.applications.values()))
    application.running = 0
    update = summarise(world)
    assert condition(update, "Degraded")["status"] == "True"
    assert condition(update, "Ready")["status"] == "False"
    assert [event.type for event in update.events] == ["Warning"]
    world.settle()
    assert condition(summarise(world), "Degraded")["status"] == "False"


def proving() -> tuple[VirtualWorld, actions.Plan]:
    world = VirtualWorld()
    world.apply("digits", model={"uri": "file:///m/1"})
    for _ in range(60):
        plan = world.pass_model("digits")
        if isinstance(plan.action, actions.Prove):
            return world, plan
        world.pass_ray()
        world.tick()
    raise AssertionError("no proof was asked for")


def proof_outcomes(revision: str) -> dict[str, actions.Outcome]:
    return {
        "nothing was asked": actions.Done(),
        "nobody answered": actions.ProofUnavailable(revision=revision, message="503"),
        "the model failed": actions.NotProved(revision=revision, message="500"),
        "proved": actions.Proved(revision=revision, digest=builders.DIGEST),
        "proved without an example": actions.Proved(revision=revision, digest=builders.DIGEST, note="too\nsmall"),
        "proved, but another revision": actions.Proved(revision="another", digest=builders.DIGEST),
    }


@pytest.mark.parametrize(
    ("case", "proved", "failures", "attempts", "message"),
    [
        ("nothing was asked", False, 0, 0, ""),
        ("nobody answered", False, 0, 1, "503"),
        ("the model failed", False, 1, 1, "500"),
        ("proved", True, 0, 0, ""),
        ("proved without an example", True, 0, 0, "too small"),
        ("proved, but another revision", False, 0, 0, ""),
    ],
)
def test_a_proofs_result_is_remembered(case: str, proved: bool, failures: int, attempts: int, message: str) -> None:
    world, plan = proving()
    assert plan.serving.candidate is not None
    rollout = fold.after(plan, proof_outcomes(plan.serving.candidate)[case], world.now).rollout
    assert rollout is not None
    assert (rollout.proved, rollout.proof_failures, rollout.proof_attempts) == (proved, failures, attempts)
    assert rollout.proof_message == message
    assert (rollout.proof_tried_at is not None) == (attempts > 0)


def test_whether_requests_share_calls_is_kept_from_the_proof_to_the_retired_revision() -> None:
    world = served()
    (row,) = world.view("digits").status.revisions
    assert row.shares_calls is True
    world.change("digits", "model.uri", "file:///m/ranking")
    world.settle()
    rows = {row.number: row.shares_calls for row in world.view("digits").status.revisions}
    assert rows == {1: True, 2: False}


def test_the_evaluation_record_is_kept_from_the_proof_to_the_retired_revision() -> None:
    world = served()
    world.change("digits", "model.uri", "file:///m/unevaluated")
    world.settle()
    rows = {row.number: row.evaluation for row in world.view("digits").status.revisions}
    assert rows == {1: evaluation_of("file:///m/1"), 2: evaluation_of("file:///m/unevaluated")}
    assert [row.outcome for row in rows.values() if row is not None] == ["Absent", "Read"]


def test_the_row_of_a_model_in_stages_says_how_many_and_counts_whole_copies() -> None:
    world = served(optimization={"parallelism": {"stages": 3}}, scaling={"replicas": 2})
    (row,) = world.view("digits").status.revisions
    assert (row.stages, row.wanted_replicas, row.ready_replicas) == (3, 2, 2)
    (whole,) = served().view("digits").status.revisions
    assert whole.stages is None


def test_a_condition_of_another_controller_stays() -> None:
    world = served()
    view = world.view("digits")
    foreign = view.status.conditions[0].model_copy(update={"type": "example.com/Audited", "reason": "Audited"})
    status = view.status.model_copy(update={"conditions": (foreign, *view.status.conditions)})
    view = dataclasses.replace(view, status=status)
    seen = builders.observed(view)
    desired = build.build(view, tuple(world.models["digits"].revisions.values()), world.bounds)
    plan = planner.make(desired, seen, world.bounds, world.now)
    update = summary.summarise(desired, view, seen, plan=plan, outcome=actions.Done(), now=world.now)
    assert condition(update, "example.com/Audited")["reason"] == "Audited"
    assert condition(update, "Ready")


def test_a_status_says_where_the_model_answers() -> None:
    world = served()
    view = world.view("digits")
    seen = builders.observed(view, gateway_url="http://127.0.0.1:8080/")
    desired = build.build(view, tuple(world.models["digits"].revisions.values()), world.bounds)
    plan = planner.make(desired, seen, world.bounds, world.now)
    update = summary.summarise(desired, view, seen, plan=plan, outcome=actions.Done(), now=world.now)
    assert update.status["endpoints"] == {
        "v1": "http://127.0.0.1:8080/v1/models/digits",
        "v2": "http://127.0.0.1:8080/v2/models/digits",
    }
    assert recall(view.status).stable is not None


values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(old=documents, new=documents)
def test_a_patch_makes_one_document_of_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch.between(old, new)
    assert merged(old, patch or {}) == new
    assert (patch is None) == (repr(old) == repr(new) or old == new)


def test_a_request_is_never_part_of_what_the_operator_writes() -> None:
    world = served()
    world.ask("digits", "Promote")
    world.models["digits"].status["request"]["time"] = "2026-01-02T05:04:05.678+02:00"
    update = summarise(world)
    assert update.patch is not None
    assert "request" not in update.patch
    assert "handledRequest" in update.patch
