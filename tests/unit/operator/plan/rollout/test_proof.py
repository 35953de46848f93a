"""How often a candidate is asked for its proof, and when that ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.one_model import NAME, rollout, round_of, serving, until
from tests.support.virtual_world import VirtualWorld, digest_of

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.rollout import proof
from fairlead_operator.state import actions
from fairlead_operator.state.reasons import Reason

DEADLINE_S = 600
Answer = Callable[[str], actions.Outcome]


class Asked:
    """A world whose candidate, asked for its proof, gives one answer; remembers when it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.world = VirtualWorld()
        self.world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": DEADLINE_S})
        self.world.settle()
        self.at_s: list[float] = []
        began = self.world.now

        def prove(_: str, revision: str, contract_of: str | None) -> actions.Outcome:
            self.at_s.append((self.world.now - began).total_seconds())
            return answer(revision)

        self.world._prove = prove  # type: ignore[method-assign]
        self.world.change(NAME, "model.uri", "file:///m/2")

    def rounds(self, count: int) -> None:
        for _ in range(count):
            if serving(self.world).quarantine:
                return
            round_of(self.world)


def unavailable(revision: str) -> actions.Outcome:
    return actions.ProofUnavailable(revision=revision, message="the gateway: 503")


def failed(revision: str) -> actions.Outcome:
    return actions.NotProved(revision=revision, message="the model failed")


def test_attempts_are_spaced_with_growing_pauses() -> None:
    asked = Asked(unavailable)
    asked.rounds(300)
    gaps = [later - before for before, later in zip(asked.at_s, asked.at_s[1:], strict=False)]
    assert len(gaps) > len(proof.PAUSES_S)
    for gap, pause_s in zip(gaps, proof.PAUSES_S, strict=False):
        assert gap >= pause_s
    assert min(gaps[len(proof.PAUSES_S) :]) >= proof.PAUSES_S[-1]


def test_five_failures_in_a_row_condemn_it_and_a_blip_of_a_few_seconds_does_not() -> None:
    asked = Asked(failed)
    asked.rounds(100)
    assert [(q.reason, q.message) for q in serving(asked.world).quarantine] == [
        (Reason.PROOF_FAILED, serving(asked.world).quarantine[0].message)
    ]
    assert "failed its test prediction 5 times in a row: the model failed" in serving(asked.world).quarantine[0].message
    assert asked.at_s[-1] - asked.at_s[0] >= sum(proof.PAUSES_S[:4])


def test_a_proof_that_can_not_be_had_ends_with_the_deadline() -> None:
    asked = Asked(unavailable)
    asked.rounds(DEADLINE_S + 100)
    (given_up,) = serving(asked.world).quarantine
    assert given_up.reason == Reason.PROGRESS_DEADLINE_EXCEEDED
    assert "did not pass its test prediction within 600 s" in given_up.message
    assert given_up.message.endswith(": the gateway: 503")
    assert len(asked.at_s) < 30


def test_a_candidate_that_was_never_asked_has_missed_no_deadline() -> None:
    asked = Asked(failed)
    until(asked.world, lambda: serving(asked.world).phase is Phase.PROVING)
    assert asked.at_s == []
    asked.world.advance(DEADLINE_S * 2)
    round_of(asked.world)
    assert len(asked.at_s) == 1
    assert serving(asked.world).quarantine == ()


@pytest.mark.parametrize("note", ["", "the model refuses a made-up input of 1 row: Input is empty."])
def test_a_refused_example_is_a_note_and_the_rollout_goes_on(note: str) -> None:
    digest = digest_of("file:///m/2")
    asked = Asked(lambda revision: actions.Proved(revision=revision, digest=digest, note=note))
    until(asked.world, lambda: serving(asked.world).phase is Phase.WIDENING)
    assert rollout(asked.world).proof_message == note
    assert asked.world.models[NAME].status["rollout"].get("proofMessage", "") == note
    announced = [plan.message for plan in asked.world.plans if plan.reason is Reason.SCALING_UP_CANDIDATE]
    assert note in announced[-1]
    assert bool(note) == ("but the model rejected the generated input" in announced[-1])
    asked.world.settle()
    assert serving(asked.world).quarantine == ()
    refused = [event.message for event in asked.world.events if event.reason is Reason.EXAMPLE_REFUSED]
    assert [note in message for message in refused] == ([True] if note else [])


def test_while_it_waits_for_the_next_attempt_the_status_says_why() -> None:
    asked = Asked(unavailable)
    until(asked.world, lambda: len(asked.at_s) == 3)
    waiting = asked.world.pass_model(NAME)
    assert isinstance(waiting.action, actions.Wait)
    assert waiting.reason is Reason.PROVING
    assert waiting.message.endswith(" failed: the gateway: 503")
    assert 0 < waiting.requeue_after_s <= proof.PAUSES_S[2]
    conditions = {c["type"]: c for c in asked.world.models[NAME].status["conditions"]}
    assert conditions["Reconciling"]["reason"] == Reason.PROVING, "nothing was written, so no write failed"
