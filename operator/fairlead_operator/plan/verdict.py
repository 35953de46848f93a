"""What a check concluded: a trigger with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.api.analysis_status import Run
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned:
    """Why a revision is given up; the quarantine keeps ``word`` in place of the reason, ``run`` is the analysis."""

    reason: Reason
    message: str
    word: str | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A trigger with its reason; ``failure_reason`` is the word that the quarantine keeps, ``run`` the analysis."""

    trigger: Trigger
    reason: Reason
    message: str
    failure_reason: str | None = None
    run: Run | None = None
