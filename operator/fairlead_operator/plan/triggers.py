"""What can happen to a rollout, and what a check concluded: a trigger with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fairlead_operator.state.analysis import Run
from fairlead_operator.state.reasons import Reason


class Trigger(StrEnum):
    """What can happen to a rollout."""

    BEGIN = "begin"  # another revision is wished, and is not known to be bad
    RECREATE = "recreate"  # the same, and the strategy stops the old one first
    READY = "ready"  # what the phase waits for came true
    STEP = "step"  # the step is done and another follows
    DONE = "done"  # the phase's wait is over, and no revision leaves
    FAILED = "failed"  # the candidate is proved bad
    SUPERSEDED = "superseded"  # a third revision is wished
    REVERTED = "reverted"  # the stable revision is wished again
    RETURNED = "returned"  # the revision that leaves is wished again, and is still warm
    RAY_RESTARTED = "ray restarted"  # Ray's head lost every application
    SUSPEND = "suspend"  # the spec says suspend
    RESUME = "resume"  # it no longer does
    RESTORE = "restore"  # the candidate is no longer wished, and the stable revision has given replicas away
    WATCH = "watch"  # the promotion is confirmed, and the revision before is to stay warm
    TAKEN_BACK = "taken back"  # the warm revision is wished again
    STABLE_FAILED = "stable failed"  # the promoted revision failed while the warm one could take over
    PROMOTE = "promote"  # a person ends the pause of a step
    PROMOTE_FULL = "promote full"  # a person skips the steps that are left
    HOLD = "hold"  # a person holds the rollout
    RELEASE = "release"  # and lets it go on
    ABORTED = "aborted"  # a person gives the candidate up
    RETRY = "retry"  # a person wants the wished revision tried again
    ROLLBACK = "rollback"  # a person chooses an earlier revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A trigger with its reason; ``failure_reason`` is the word that the quarantine keeps, ``run`` the analysis."""

    trigger: Trigger
    reason: Reason
    message: str
    failure_reason: str | None = None
    run: Run | None = None
