"""The signature contract in the virtual world, up to the moment that matters."""

from __future__ import annotations

from typing import Any

from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import RequestOutcome, RolloutPhase, Verb
from fairlead_operator.state import actions
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import RouteText

NAME = "digits"


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def changed(uri: str = "file:///m/wider", **rollout: Any) -> VirtualWorld:
    """A stable revision, and the next one as far as it gets by itself."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 60, **rollout})
    world.settle()
    world.change(NAME, "model.uri", uri)
    world.settle()
    return world


def test_a_candidate_that_breaks_the_contract_gets_no_request_however_long_one_waits() -> None:
    world = changed()
    world.advance(86400)
    world.settle()
    assert serving(world).phase is RolloutPhase.PROVING
    assert RouteText(text=world.routes[NAME]).weights() == {serving(world).stable: 10_000}
    assert serving(world).quarantine == ()


def test_the_time_for_which_it_was_held_counts_towards_no_deadline() -> None:
    world = changed()
    world.advance(86400)
    world.change(NAME, "rollout.allowSignatureChange", True)
    world.settle()
    assert serving(world).candidate is None
    assert serving(world).quarantine == ()


def test_no_verb_promotes_over_it_and_abort_still_wins() -> None:
    world = changed()
    for verb in (Verb.PROMOTE, Verb.RESUME, Verb.PROMOTE_FULL):
        world.ask(NAME, verb)
        world.settle()
        handled = serving(world).handled
        assert handled is not None
        assert handled.outcome is RequestOutcome.REFUSED
    world.ask(NAME, Verb.ABORT)
    world.settle()
    assert serving(world).candidate is None
    assert [entry.reason for entry in serving(world).quarantine] == [Reason.ABORTED]


def test_what_is_allowed_beforehand_is_never_held() -> None:
    assert serving(changed(allowSignatureChange=True)).candidate is None


def test_a_way_back_to_a_known_contract_is_not_held() -> None:
    world = changed(allowSignatureChange=True)
    world.change(NAME, "rollout.allowSignatureChange", False)
    world.ask(NAME, Verb.ROLLBACK)
    world.settle()
    assert serving(world).candidate is None
    assert world.view(NAME).status.model is not None
    assert world.models[NAME].revisions[str(serving(world).stable)].number == 1


def test_a_contract_that_nobody_can_tell_keeps_no_cure_out() -> None:
    """Every gateway says that the stable revision has no replica: what replaces it is not compared."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 60})
    world.settle()
    stuck = next(iter(world.applications.values()))
    stuck.running, stuck.is_stuck = 0, True
    world.change(NAME, "model.uri", "file:///m/wider")
    world.settle()
    assert serving(world).candidate is None
    assert world.models[NAME].revisions[str(serving(world).stable)].number == 2


def test_a_gateway_that_is_unread_is_no_reason_to_skip_the_comparison() -> None:
    world = changed("file:///m/2")
    world.change(NAME, "model.uri", "file:///m/3")
    proofs = []
    for fault in (Fault.NONE, Fault.GATEWAY_UNREAD) * 20:
        plan = world.pass_model(NAME, fault)
        world.pass_ray()
        world.tick()
        if isinstance(plan.action, actions.Prove):
            proofs.append(plan.action.contract_of)
    assert proofs
    assert None not in proofs
