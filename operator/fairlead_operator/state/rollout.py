"""What of a rollout must survive a crash: read from ``status``, written back before the step it announces."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from fairlead_operator.api.status import Attempted, ModelDeploymentStatus, Quarantined, RolloutPhase, RolloutStatus
from fairlead_operator.state.route import FULL_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A change under way.

    ``leaving`` is the revision that loses its place: the old stable after a promotion, the candidate after a
    withdrawal. ``step`` counts through the strategy's steps; ``weight`` is in hundredths of a percent.
    """

    phase: RolloutPhase
    leaving: str | None = None
    step: int = 0
    weight: int = 0
    started_at: datetime.datetime
    step_started_at: datetime.datetime
    attempt: int = 0
    proof_failures: int = 0
    proved: bool = False
    proof_digest: str | None = None
    proof_message: str = ""
    ray_session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A revision that failed: not tried again until the spec changes."""

    revision: str
    reason: str
    message: str
    time: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A start of a revision that had no replica left; Ray doesn't try an unchanged config twice."""

    revision: str
    number: int
    time: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Which revisions have a place, and the rollout between them; None as rollout is Idle.

    ``attempts`` outlive the rollout: a number that went back would restart the replicas of what serves.
    """

    stable: str | None = None
    candidate: str | None = None
    last_stable: str | None = None
    rollout: Rollout | None = None
    quarantine: tuple[Quarantine, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def phase(self) -> RolloutPhase | None:
        return self.rollout.phase if self.rollout is not None else None

    @property
    def leaving(self) -> str | None:
        return self.rollout.leaving if self.rollout is not None else None

    @property
    def active(self) -> tuple[str, ...]:
        """Revisions that have a place: never deleted, and running unless the object is retired."""
        return tuple(dict.fromkeys(r for r in (self.stable, self.candidate, self.leaving) if r is not None))

    def quarantined(self, revision: str) -> Quarantine | None:
        return next((entry for entry in self.quarantine if entry.revision == revision), None)

    def without_rollout(self) -> Serving:
        """Idle: what is stable stays so."""
        attempts = tuple(attempt for attempt in self.attempts if attempt.revision == self.stable)
        return replace(self, candidate=None, rollout=None, attempts=attempts)

    def attempt_of(self, revision: str) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.revision == revision), None)

    def with_attempt(self, attempt: Attempt) -> Serving:
        others = tuple(other for other in self.attempts if other.revision != attempt.revision)
        return replace(self, attempts=(*others, attempt))


def recall(status: ModelDeploymentStatus) -> Serving:
    """Reads back what ``record`` wrote."""
    rollout = status.rollout
    return Serving(
        stable=status.stable_revision,
        candidate=status.candidate_revision,
        last_stable=status.last_stable_revision,
        rollout=_recall_rollout(rollout) if rollout is not None else None,
        quarantine=tuple(
            Quarantine(revision=q.revision, reason=q.reason, message=q.message, time=q.time) for q in status.quarantine
        ),
        attempts=tuple(Attempt(revision=a.revision, number=a.number, time=a.time) for a in status.attempts),
    )


def _recall_rollout(rollout: RolloutStatus) -> Rollout:
    began = rollout.started_at or datetime.datetime.fromtimestamp(0, datetime.UTC)
    return Rollout(
        phase=rollout.phase,
        leaving=rollout.previous_revision,
        step=rollout.step,
        weight=rollout.weight_basis_points,
        started_at=began,
        step_started_at=rollout.step_started_at or began,
        attempt=rollout.attempt,
        proof_failures=rollout.proof_failures,
        proved=rollout.proved,
        proof_digest=rollout.proof_digest,
        ray_session=rollout.ray_session,
        proof_message=rollout.proof_message or "",
    )


def record(serving: Serving, status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status with these facts in it, everything else as it was."""
    quarantine = tuple(
        Quarantined(revision=q.revision, reason=q.reason, message=q.message, time=q.time) for q in serving.quarantine
    )
    return status.model_copy(
        update={
            "stable_revision": serving.stable,
            "candidate_revision": serving.candidate,
            "last_stable_revision": serving.last_stable,
            "rollout": _record_rollout(serving.rollout, serving.candidate) if serving.rollout is not None else None,
            "quarantine": quarantine,
            "attempts": tuple(Attempted(revision=a.revision, number=a.number, time=a.time) for a in serving.attempts),
        }
    )


def _record_rollout(rollout: Rollout, candidate: str | None) -> RolloutStatus:
    return RolloutStatus(
        phase=rollout.phase,
        revision=candidate,
        previous_revision=rollout.leaving,
        step=rollout.step,
        weight=rollout.weight * 100 // FULL_WEIGHT,
        weight_basis_points=rollout.weight,
        started_at=rollout.started_at,
        step_started_at=rollout.step_started_at,
        attempt=rollout.attempt,
        proof_failures=rollout.proof_failures,
        proved=rollout.proved,
        proof_digest=rollout.proof_digest,
        ray_session=rollout.ray_session,
        proof_message=rollout.proof_message or None,
    )
