from __future__ import annotations

import inspect
import re

import pytest
from tests.architecture.test_tree import ROOT

from fairlead_operator import drafts, reconcile
from fairlead_operator.api import names
from fairlead_operator.state.consequences import CONSEQUENCES, Next, with_advice
from fairlead_operator.state.reasons import Reason
from fairlead_operator.status import events

IN_THE_MESSAGE = (Reason.PAUSED, Reason.NO_SERVING_CLASS)
"""What helps depends on more than the reason, so the message of the pass says it."""
NEEDS_A_PERSON = [reason for reason, row in CONSEQUENCES.items() if row.next in (Next.PERSON, Next.PROMOTE)]


def test_every_reason_has_its_consequences() -> None:
    assert set(CONSEQUENCES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_exactly_the_reasons_that_need_a_person_have_advice(reason: Reason) -> None:
    row = CONSEQUENCES[reason]
    assert bool(row.advice) == (reason in NEEDS_A_PERSON and reason not in IN_THE_MESSAGE)
    assert not row.advice or re.fullmatch(r"[A-Z].*\.", row.advice)


def test_the_advice_on_missing_gateways_is_right_with_and_without_flags() -> None:
    """Without flags the operator makes them itself, and there is no flag to add."""
    advice = CONSEQUENCES[Reason.NO_GATEWAY].advice
    assert "--gateway" in advice
    assert f"Deployment {names.GATEWAY}" in advice


@pytest.mark.parametrize("reason", NEEDS_A_PERSON)
def test_every_reason_that_needs_a_person_is_in_the_operations_guide(reason: Reason) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "operations.md").read_text()


def announced() -> set[str]:
    """The reasons that any event is sent with, apart from conditions that become True."""
    named = (
        (events, r"\bReason\.([A-Z_]+)"),
        (drafts, r"Event\([^)]*Reason\.([A-Z_]+)"),
        (reconcile, r"Event\([^)]*Reason\.([A-Z_]+)"),
    )
    found = {name for module, pattern in named for name in re.findall(pattern, inspect.getsource(module))}
    # An event with the reason of the pass: what was written, and the answer to a request.
    found |= {"REVISION_CREATED", "HISTORY_TRIMMED", "REQUESTED", "REQUEST_REFUSED"}
    return {Reason[name] for name in found} | {reason for reason, row in CONSEQUENCES.items() if row.event is not None}


def test_the_operations_guide_lists_exactly_the_events_that_are_sent() -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Events\n")[2].partition("\n\n")[0]
    listed = {word for row in section.splitlines() for word in re.findall(r"`([A-Z][A-Za-z]+)`", row.split("|")[1])}
    assert listed == announced()


@pytest.mark.parametrize("reason", NEEDS_A_PERSON)
def test_advice_names_the_model_in_its_commands(reason: Reason) -> None:
    advice = with_advice(reason, "It is so.", name="digits")
    assert "{" not in advice
    assert all("digits" in command for command in re.findall(r"`(kubectl fairlead [^`]*)`", advice))
