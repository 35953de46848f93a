"""What can happen to a rollout."""

from __future__ import annotations

from enum import StrEnum


class Trigger(StrEnum):
    """What can happen to a rollout. Which phases react to a trigger, and how, is in ``state.phases``."""

    BEGIN = "begin"  # another revision is desired, and is not known to be bad
    RECREATE = "recreate"  # the same, and the strategy stops the old revision first
    READY = "ready"  # the phase has reached what it waits for
    STEP = "step"  # the step is done and another follows
    DONE = "done"  # the phase is done, and no revision leaves
    FAILED = "failed"  # the candidate is condemned
    SUPERSEDED = "superseded"  # a third revision is desired
    REVERTED = "reverted"  # the stable revision is desired again
    RETURNED = "returned"  # the revision that leaves is desired again, and still runs
    RAY_RESTARTED = "ray restarted"  # Ray's head lost every application
    SUSPEND = "suspend"  # spec.suspend was set
    RESUME = "resume"  # spec.suspend was removed
    RESTORE = "restore"  # the candidate is given up, and the stable revision has given replicas away
    WATCH = "watch"  # the promotion is confirmed, and the previous revision stays warm
    TAKEN_BACK = "taken back"  # the warm revision is desired again
    STABLE_FAILED = "stable failed"  # the promoted revision failed while the warm one could replace it
    PROMOTE = "promote"  # a person ends the wait of a step
    PROMOTE_FULL = "promote full"  # a person skips the remaining steps
    HOLD = "hold"  # a person pauses the rollout
    RELEASE = "release"  # a person resumes the rollout
    ABORTED = "aborted"  # a person gives the candidate up
    RETRY = "retry"  # a person lifts the quarantine of the desired revision
    ROLLBACK = "rollback"  # a person chooses an earlier revision
