from __future__ import annotations

import re

import pytest
from tests.architecture.test_tree import ROOT

from fairlead_operator.api import names
from fairlead_operator.state.consequences import CONSEQUENCES, Next
from fairlead_operator.state.reasons import Reason

NEEDS_A_PERSON = [reason for reason, row in CONSEQUENCES.items() if row.next in (Next.PERSON, Next.PROMOTE)]


def test_every_reason_has_its_consequences() -> None:
    assert set(CONSEQUENCES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_exactly_the_reasons_that_need_a_person_have_advice(reason: Reason) -> None:
    row = CONSEQUENCES[reason]
    assert bool(row.advice) == (reason in NEEDS_A_PERSON and reason is not Reason.PAUSED)
    assert not row.advice or re.fullmatch(r"[A-Z].*\.", row.advice)


def test_the_advice_on_missing_gateways_is_right_with_and_without_flags() -> None:
    """Without flags the operator makes them itself, and there is no flag to add."""
    advice = CONSEQUENCES[Reason.NO_GATEWAY].advice
    assert "--gateway" in advice
    assert f"Deployment {names.GATEWAY}" in advice


@pytest.mark.parametrize("reason", NEEDS_A_PERSON)
def test_every_reason_that_needs_a_person_is_in_the_operations_guide(reason: Reason) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "operations.md").read_text()
