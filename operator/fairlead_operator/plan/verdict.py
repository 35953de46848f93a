"""What a check concluded: a trigger with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.state.analysis import Run
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A trigger with its reason; ``failure_reason`` is the word that the quarantine keeps, ``run`` the analysis."""

    trigger: Trigger
    reason: Reason
    message: str
    failure_reason: str | None = None
    run: Run | None = None
