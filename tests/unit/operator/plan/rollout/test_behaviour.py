from __future__ import annotations

from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.plan.rollout.behaviour import BEHAVIOUR
from fairlead_operator.state.phases import IDLE, PHASES
from fairlead_operator.state.triggers import Trigger

ENTERED_BY_ITSELF = {Trigger.READY, Trigger.STEP, Trigger.RESTORE, Trigger.WATCH, Trigger.PROMOTE, Trigger.PROMOTE_FULL}


def test_every_phase_but_a_suspension_has_its_behaviour() -> None:
    assert set(BEHAVIOUR) == {phase for phase in RolloutPhase if not PHASES[phase].is_suspension}


def test_no_trigger_that_continues_a_rollout_leads_out_of_idle() -> None:
    assert not ENTERED_BY_ITSELF & set(IDLE.on)
