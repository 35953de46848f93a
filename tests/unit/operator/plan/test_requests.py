"""What people ask for: carried out or refused, each exactly once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import HandledRequest, RequestOutcome
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan import requests
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall

NAME = "digits"
STEPS: list[dict[str, Any]] = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def handled(world: VirtualWorld) -> HandledRequest:
    known = serving(world).handled
    assert known is not None
    return known


def at_25(*, rounds: int | None = None, uri: str = "file:///m/2", **rollout: Any) -> VirtualWorld:
    """A Canary's second revision, at rest at 25 % or so many passes under way."""
    world = VirtualWorld()
    desired = {"progressDeadlineSeconds": 60, "strategy": "Canary", "steps": STEPS, **rollout}
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=desired)
    world.settle()
    world.change(NAME, "model.uri", uri)
    if rounds is None:
        world.settle()
    for _ in range(rounds or 0):
        world.pass_model(NAME)
        world.pass_ray()
        world.tick()
    return world


def asked(world: VirtualWorld, verb: str, **about: Any) -> VirtualWorld:
    world.ask(NAME, verb, **about)
    world.pass_model(NAME)
    return world


def test_every_verb_is_answered() -> None:
    assert set(requests.JUDGES) == set(requests.Verb)


@pytest.mark.parametrize(
    ("verb", "about", "why"),
    [
        ("Promote", {"revision": "0000000000"}, "but the candidate is revision 2"),
        ("Promote", {"step": 3}, "is for step 4, but step 2 is in progress"),
        ("PromoteFull", {"revision": "0000000000"}, "but the candidate is revision 2"),
        ("Abort", {"revision": "0000000000"}, "but the candidate is revision 2"),
        ("Pause", {"revision": "0000000000"}, "but the candidate is revision 2"),
        ("Resume", {"revision": "0000000000"}, "but the candidate is revision 2"),
        ("Retry", {"revision": "0000000000"}, "but the spec asks for revision 2"),
        ("Retry", {}, "is not in quarantine"),
        ("Rollback", {"revision": "0000000000"}, "but the current revision is revision 2"),
        ("Rollback", {"number": 7}, "revision 7 is not kept"),
        ("Rollback", {"number": 2}, "is what the spec asks for"),
    ],
)
def test_what_came_too_late_or_means_nothing_is_refused_with_the_reason(
    verb: str, about: dict[str, Any], why: str
) -> None:
    world = at_25()
    before = serving(world)
    asked(world, verb, **about)
    assert handled(world).outcome is RequestOutcome.REFUSED
    assert why in handled(world).message
    assert world.events[-1].reason is Reason.REQUEST_REFUSED
    assert (serving(world).rollout, serving(world).quarantine) == (before.rollout, before.quarantine)


@pytest.mark.parametrize("verb", ["Promote", "PromoteFull", "Abort", "Pause", "Resume"])
def test_without_a_candidate_there_is_nothing_to_ask_of_it(verb: str) -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    assert "there is no candidate" in handled(asked(world, verb)).message


def test_a_promote_outside_a_pause_waits_for_nobody() -> None:
    world = at_25(rounds=2)
    assert "there is nothing to continue: the rollout is in phase " in handled(asked(world, "Promote")).message


def test_a_full_promote_waits_until_the_candidate_is_proved_and_then_skips_the_steps() -> None:
    world = asked(at_25(rounds=2), "PromoteFull")
    assert serving(world).handled is None
    world.settle()
    assert handled(world).outcome is RequestOutcome.DONE
    assert world.models[NAME].status["phase"] == "Ready"


def test_no_verb_lets_a_bad_candidate_past_its_proof() -> None:
    world = asked(at_25(rounds=2, uri="file:///m/wrong"), "PromoteFull")
    world.settle()
    assert world.models[NAME].status["conditions"][0]["reason"] == Reason.ROLLOUT_FAILED
    assert handled(world).outcome is RequestOutcome.REFUSED


@pytest.mark.parametrize("verb", ["Promote", "PromoteFull", "Resume"])
def test_a_hold_by_the_spec_is_the_specs_to_lift(verb: str) -> None:
    world = at_25()
    world.change(NAME, "rollout.paused", True)
    assert "spec.rollout.paused is true" in handled(asked(world, verb)).message


@pytest.mark.parametrize("fault", [Fault.STATUS_CONFLICT, Fault.CRASH_AFTER_WRITE, Fault.CRASH_BEFORE_WRITE])
def test_a_request_whose_write_was_lost_is_carried_out_once(fault: Fault) -> None:
    world = at_25()
    world.ask(NAME, "Promote", step=1)
    world.pass_model(NAME, fault)
    assert serving(world).handled is None
    world.settle()
    rollout = serving(world).rollout
    assert rollout is not None
    assert (rollout.step, rollout.weight) == (3, 5000)
    assert [event.reason for event in world.events].count(Reason.REQUESTED) == 1


def test_a_handled_request_is_not_handled_again_after_a_suspension() -> None:
    world = asked(at_25(), "Abort")
    world.settle()
    for suspended in (True, False):
        world.change(NAME, "suspend", suspended)
        world.settle()
    assert [event.reason for event in world.events].count(Reason.REQUESTED) == 1


@pytest.mark.parametrize("rounds", [2, 3, 5, 7, 9])
def test_an_abort_takes_the_candidate_away_from_wherever_it_is(rounds: int) -> None:
    world = at_25(rounds=rounds)
    stable = serving(world).stable
    asked(world, "Abort")
    assert serving(world).phase in (Phase.REMOVING, Phase.WITHDRAWING)
    world.settle()
    assert (serving(world).stable, serving(world).candidate) == (stable, None)
    ready = world.models[NAME].status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", Reason.ABORTED)


def test_what_was_aborted_may_be_desired_again_by_another_change_of_the_spec() -> None:
    world = asked(at_25(), "Abort")
    world.settle()
    for uri in ("file:///m/1", "file:///m/2"):
        world.change(NAME, "model.uri", uri)
        world.settle()
    assert world.models[NAME].status["phase"] == "Paused", "it is at its first pause again"


def test_what_failed_is_not_forgiven_by_a_change_of_the_spec() -> None:
    world = at_25(uri="file:///m/bad")
    for uri in ("file:///m/1", "file:///m/bad"):
        world.change(NAME, "model.uri", uri)
        world.settle()
    assert [entry.reason for entry in serving(world).quarantine] == ["ModelCorrupt"]
    assert serving(world).candidate is None


def test_a_retry_waits_until_the_last_attempt_is_gone_and_is_another_attempt() -> None:
    world = asked(at_25(), "Abort")
    world.ask(NAME, "Retry")
    world.pass_model(NAME)
    assert handled(world).verb == "Abort"
    world.settle()
    assert handled(world).verb == "Retry"
    (attempt,) = serving(world).attempts
    assert (attempt.revision, attempt.number) == (serving(world).candidate, 1)
    configs = [a.config["args"]["config"] for a in world.applications.values()]
    assert sorted(config["attempt"] for config in configs) == [0, 1]


def test_a_rollback_without_a_number_leaves_the_candidate_for_what_is_stable() -> None:
    world = at_25()
    stable = serving(world).stable
    asked(world, "Rollback")
    world.settle()
    assert (serving(world).stable, serving(world).candidate) == (stable, None)
    assert world.models[NAME].status["conditions"][0]["reason"] == Reason.ROLLED_BACK


def test_a_rollback_takes_no_steps_and_is_held_by_nothing() -> None:
    world = at_25()
    asked(world, "PromoteFull")
    world.settle()
    world.change(NAME, "rollout.paused", True)
    asked(world, "Rollback", number=1)
    world.settle()
    stable = serving(world).stable
    assert stable is not None
    assert world.models[NAME].revisions[stable].number == 1
    assert serving(world).rollout is None


def test_a_rollback_during_promotion_takes_what_is_still_warm() -> None:
    world = asked(at_25(), "PromoteFull")
    for _ in range(20):
        world.pass_model(NAME)
        world.tick()
        if serving(world).phase is Phase.DRAINING:
            break
    first = serving(world).leaving
    puts = len([w for w in world.writes if w.kind == "Put"])
    asked(world, "Rollback")
    for _ in range(20):
        world.pass_model(NAME)
        world.pass_ray()
        world.tick()
        if serving(world).stable == first:
            break
    assert serving(world).stable == first
    assert len([w for w in world.writes if w.kind == "Put"]) == puts, "nothing had to be started"


def test_a_rollback_to_what_failed_is_refused() -> None:
    world = at_25(uri="file:///m/bad")
    world.change(NAME, "model.uri", "file:///m/3")
    world.settle()
    assert "failed: ModelCorrupt" in handled(asked(world, "Rollback", number=2)).message


def test_an_aborted_rollback_leaves_no_choice_behind() -> None:
    world = asked(at_25(), "PromoteFull")
    world.settle()
    asked(world, "Rollback")
    for _ in range(3):
        world.pass_model(NAME)
    asked(world, "Abort")
    world.settle()
    assert world.models[NAME].status["phase"] == "Ready"
    assert (serving(world).rollback, serving(world).quarantine) == (None, ())


def test_a_revision_that_is_rolled_back_to_is_kept_whatever_the_limit() -> None:
    world = at_25(strategy="RollingUpdate", steps=None)
    world.change(NAME, "revisionHistoryLimit", 1)
    for number in (3, 4):
        world.change(NAME, "model.uri", f"file:///m/{number}")
        world.settle()
    asked(world, "Rollback")
    world.settle()
    stable = serving(world).stable
    assert stable is not None
    assert world.models[NAME].revisions[stable].number == 3


def test_a_rollback_from_before_a_change_of_the_spec_gives_up_nothing_that_nobody_saw() -> None:
    world = asked(at_25(), "PromoteFull")
    world.settle()
    world.change(NAME, "model.uri", "file:///m/3")
    assert "its rollout has not begun" in handled(asked(world, "Rollback")).message
    world.settle()
    assert world.models[NAME].status["phase"] == "Paused", "the third is at its first pause"
