from __future__ import annotations

import itertools

import pytest

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.phases import PHASES, Place, next_phase, rules_of
from fairlead_operator.state.triggers import Trigger

ALL: tuple[Phase | None, ...] = (None, *Phase)
GIVEN_UP = (Trigger.FAILED, Trigger.SUPERSEDED, Trigger.REVERTED, Trigger.ABORTED)
WITH_CANDIDATE = (Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING)


def test_every_phase_has_its_rules() -> None:
    assert set(PHASES) == set(Phase)


def test_every_phase_can_be_reached_and_left() -> None:
    reached: set[Phase | None] = {None}
    for _ in ALL:
        reached |= {next_phase(phase, trigger) for phase, trigger in itertools.product(reached, Trigger)}
    assert reached == set(ALL)
    for phase in ALL:
        assert any(next_phase(phase, trigger) != phase for trigger in Trigger)


def test_every_trigger_leads_somewhere_in_some_phase() -> None:
    assert {trigger for phase in ALL for trigger in rules_of(phase).on} == set(Trigger)


def test_a_trigger_that_a_phase_does_not_name_changes_nothing() -> None:
    assert not rules_of(Phase.DRAINING).reacts_to(Trigger.FAILED)
    assert next_phase(Phase.DRAINING, Trigger.FAILED) is Phase.DRAINING


@pytest.mark.parametrize("phase", WITH_CANDIDATE)
@pytest.mark.parametrize("trigger", GIVEN_UP)
def test_a_candidate_that_gateways_know_is_withdrawn_before_it_is_removed(phase: Phase, trigger: Trigger) -> None:
    assert next_phase(phase, trigger) is Phase.WITHDRAWING
    assert next_phase(Phase.WITHDRAWING, Trigger.READY) is Phase.DRAINING
    assert next_phase(Phase.DRAINING, Trigger.READY) is Phase.REMOVING
    assert next_phase(Phase.REMOVING, Trigger.READY) is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if not PHASES[phase].is_suspension])
def test_a_suspension_begins_in_every_other_phase(phase: Phase) -> None:
    assert next_phase(phase, Trigger.SUSPEND) is Phase.RETIRING


def test_a_suspension_once_begun_is_finished() -> None:
    assert next_phase(Phase.RETIRING, Trigger.RESUME) is Phase.RETIRING
    assert next_phase(Phase.RETIRED, Trigger.RESUME) is None


@pytest.mark.parametrize("phase", Phase)
def test_only_a_revision_with_replicas_is_routed(phase: Phase) -> None:
    assert PHASES[phase].routed <= PHASES[phase].running


def test_a_candidate_without_replicas_is_not_routed() -> None:
    assert Place.CANDIDATE not in PHASES[Phase.STARTING].routed
