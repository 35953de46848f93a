from __future__ import annotations

import itertools

import pytest

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.rollout.machine import IGNORED, TRANSITIONS, is_heeded, move
from fairlead_operator.plan.triggers import Trigger

PHASES: tuple[Phase | None, ...] = (None, *Phase)


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_every_trigger_is_heeded_or_ignored_in_every_phase(phase: Phase | None) -> None:
    for trigger in Trigger:
        assert is_heeded(phase, trigger) != (trigger in IGNORED[phase]), f"{phase} x {trigger}"
        move(phase, trigger)


def test_the_table_names_only_known_phases() -> None:
    assert set(IGNORED) == set(PHASES)
    assert set(TRANSITIONS.values()) <= set(PHASES)


def test_every_phase_can_be_reached_and_left() -> None:
    reached: set[Phase | None] = {None}
    for _ in PHASES:
        reached |= {move(phase, trigger) for phase, trigger in itertools.product(reached, Trigger)}
    assert reached == set(PHASES)
    for phase in PHASES:
        assert any(move(phase, trigger) != phase for trigger in Trigger)


@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING])
@pytest.mark.parametrize("trigger", [Trigger.FAILED, Trigger.SUPERSEDED, Trigger.REVERTED])
def test_a_candidate_that_gateways_know_goes_by_way_of_weight_zero(phase: Phase, trigger: Trigger) -> None:
    assert move(phase, trigger) is Phase.WITHDRAWING
    assert move(Phase.WITHDRAWING, Trigger.READY) is Phase.DRAINING
    assert move(Phase.DRAINING, Trigger.READY) is Phase.REMOVING
    assert move(Phase.REMOVING, Trigger.READY) is None


def test_a_suspension_once_begun_is_finished() -> None:
    assert move(Phase.RETIRING, Trigger.RESUME) is Phase.RETIRING
    assert move(Phase.RETIRED, Trigger.RESUME) is None
