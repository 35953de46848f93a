"""The list of causes: it is the only place that condemns, and each cause is looked for where something can follow."""

from __future__ import annotations

import pathlib

import pytest

from fairlead_operator import plan
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.condemn import chain
from fairlead_operator.state.phases import rules_of
from fairlead_operator.state.triggers import Trigger

PLAN = pathlib.Path(plan.__file__).parent
CONDEMNING = (Trigger.FAILED, Trigger.STABLE_FAILED)


@pytest.mark.parametrize("trigger", CONDEMNING)
def test_nothing_else_condemns_a_revision(trigger: Trigger) -> None:
    sources = {path.relative_to(PLAN).as_posix(): path.read_text() for path in PLAN.rglob("*.py")}
    made = f"trigger=Trigger.{trigger.name}"
    assert {path for path, text in sources.items() if made in text} <= {"condemn/chain.py"}
    assert f"Trigger.{trigger.name}" in sources["condemn/chain.py"]


@pytest.mark.parametrize("cause", chain.CAUSES, ids=lambda cause: f"{cause.check.__module__}.{cause.check.__name__}")
def test_a_cause_is_looked_for_where_a_phase_reacts_to_it(cause: chain.Cause) -> None:
    assert cause.phases
    for phase in cause.phases:
        rules = rules_of(phase)
        assert rules.reacts_to(Trigger.STABLE_FAILED if rules.keeps_warm else Trigger.FAILED), phase


def test_every_phase_with_a_candidate_or_a_warm_revision_has_causes() -> None:
    reacting = {phase for phase in Phase if any(map(rules_of(phase).reacts_to, CONDEMNING))}
    # While a candidate that was given up goes back batch by batch, it is condemned already.
    assert {phase for cause in chain.CAUSES for phase in cause.phases} == reacting - {Phase.RESTORING}
