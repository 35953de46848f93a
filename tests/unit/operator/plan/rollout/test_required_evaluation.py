"""`spec.rollout.requireEvaluation` in the virtual world, up to the moment that matters."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.virtual_evaluations import evaluation_of
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import RolloutPhase, Verb
from fairlead_operator.state import actions
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import RouteText

NAME = "digits"
REQUIRED = {"metric": "Accuracy", "min": 0.95}


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def number(world: VirtualWorld) -> int:
    """Of the stable revision."""
    return world.models[NAME].revisions[str(serving(world).stable)].number


def served(**rollout: Any) -> VirtualWorld:
    """A stable revision, from a time when no record was required."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/unevaluated/1"}, rollout={"progressDeadlineSeconds": 60, **rollout})
    world.settle()
    world.change(NAME, "rollout.requireEvaluation", REQUIRED)
    world.settle()
    assert number(world) == 1
    return world


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        pytest.param("file:///m/unevaluated/2", "there is no file evaluation.json beside the model", id="no record"),
        pytest.param("file:///m/foreign", "evaluation.json is of a model with another digest", id="another model's"),
        pytest.param(
            "file:///m/poor",
            "its evaluation record has Accuracy 0.9100 (95 %: 0.8818 to 0.9320, 500 samples), and the lower "
            "bound 0.8818 counts",
            id="below the bound",
        ),
    ],
)
def test_a_candidate_that_does_not_meet_it_gets_no_request_and_the_stable_revision_serves(uri: str, why: str) -> None:
    world = served()
    stable = serving(world).stable
    world.change(NAME, "model.uri", uri)
    world.settle()
    assert serving(world).candidate is None
    assert serving(world).stable == stable
    (entry,) = serving(world).quarantine
    assert entry.reason == Reason.EVALUATION_NOT_MET
    assert entry.message.endswith(f"requireEvaluation (Accuracy of at least 0.95): {why}")
    assert RouteText(text=world.routes[NAME]).weights() == {stable: 10_000}
    assert not any("candidate" in str(write.what) and "at 1" in str(write.what) for write in world.writes)


def test_a_record_whose_lower_bound_is_high_enough_is_rolled_out() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    assert number(world) == 2


def test_the_lower_bound_counts_and_not_the_value() -> None:
    """The value is 0.97, the lower bound 0.9512."""
    world = served()
    world.change(NAME, "rollout.requireEvaluation.min", 0.96)
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    assert number(world) == 1
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.EVALUATION_NOT_MET]


def test_a_first_revision_without_a_record_is_not_served() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/unevaluated"}, rollout={"requireEvaluation": REQUIRED})
    world.settle()
    assert (serving(world).stable, serving(world).candidate) == (None, None)
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.EVALUATION_NOT_MET]


def test_a_retry_after_the_requirement_was_lowered_rolls_out() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/poor")
    world.settle()
    world.change(NAME, "rollout.requireEvaluation.min", 0.88)
    world.settle()
    assert number(world) == 1
    world.ask(NAME, Verb.RETRY)
    world.settle()
    assert number(world) == 2


def test_a_way_back_to_what_was_stable_needs_no_record() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    world.ask(NAME, Verb.ROLLBACK)
    world.settle()
    assert number(world) == 1
    assert serving(world).quarantine[0].is_by_request


def test_what_was_suspended_starts_without_a_record() -> None:
    world = served()
    world.change(NAME, "suspend", True)
    world.settle()
    world.change(NAME, "suspend", False)
    world.settle()
    assert number(world) == 1
    assert serving(world).quarantine == ()


def test_with_recreate_what_was_stopped_starts_again_after_a_refusal() -> None:
    world = served(strategy="Recreate")
    world.change(NAME, "model.uri", "file:///m/poor")
    world.settle()
    assert number(world) == 1
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.EVALUATION_NOT_MET]


def test_a_proof_of_before_the_requirement_is_asked_for_once_more() -> None:
    """An operator of an earlier version proved the candidate, and did not ask for the record."""
    world = served()
    world.change(NAME, "model.uri", "file:///m/poor")
    while not isinstance(world.pass_model(NAME).action, actions.Prove):
        world.pass_every_ray()
        world.tick()
    proved = serving(world).rollout
    assert proved is not None
    assert proved.evaluation == evaluation_of("file:///m/poor")
    stored = world.models[NAME]
    del stored.status["rollout"]["evaluation"]
    stored.viewed = None
    world.settle()
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.EVALUATION_NOT_MET]


def test_a_gateway_that_is_unread_condemns_nobody() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/2")
    for fault in (Fault.NONE, Fault.GATEWAY_UNREAD) * 30:
        world.pass_model(NAME, fault)
        world.pass_ray()
        world.tick()
    world.settle()
    assert number(world) == 2
    assert serving(world).phase is not RolloutPhase.PROVING


def test_the_proof_asks_for_a_record_only_where_one_is_required() -> None:
    world = served()
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    proofs = [plan.action for plan in world.plans if isinstance(plan.action, actions.Prove)]
    assert [proof.needs_evaluation for proof in proofs] == [False, True]
    assert dataclasses.replace(proofs[1], needs_evaluation=False) == actions.Prove(
        revision=proofs[1].revision, contract_of=proofs[1].contract_of
    )
