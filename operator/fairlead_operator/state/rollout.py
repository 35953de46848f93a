"""What of a rollout must survive a crash: read from ``status``, written back before the step it announces."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from fairlead_operator.api.analysis_status import BaselineStatus
from fairlead_operator.api.status import (
    ATTEMPTS_MAX,
    Attempt,
    HandledRequest,
    ModelDeploymentStatus,
    Quarantine,
    RaySession,
    Rollback,
    RolloutHealth,
    RolloutPhase,
    RolloutStatus,
)
from fairlead_operator.state import analysis_memory, mapping
from fairlead_operator.state.analysis import Run
from fairlead_operator.state.measurements import Counters
from fairlead_operator.state.phases import PhaseRules, Place, rules_of
from fairlead_operator.state.route import FULL_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A spell without readiness, which has to outlive the operator; ``crashes`` are the last that Ray spoke of."""

    unwell_since: datetime.datetime | None = None
    is_crash: bool = False
    crashes: tuple[datetime.datetime, ...] = ()
    is_restarting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A change under way.

    ``proof_failures`` are the proofs in a row that the candidate itself failed, ``proof_attempts`` all that gave no
    proof, the last of them at ``proof_tried_at``.

    ``leaving`` is the revision that loses its place: the old stable after a promotion, the candidate after a
    withdrawal. ``step`` counts through the strategy's steps; ``weight`` is in hundredths of a percent. ``progress_s``
    counts the seconds in which the candidate could have got on, up to ``progress_at``: only they count towards the
    deadline. ``stable_lost_at`` is since when no gateway has a ready replica of the stable revision. ``replicas`` is
    the most that the candidate may have, and what it keeps when it leaves; ``stable_replicas`` is the same of the
    stable revision. None is all of them. ``scaled_replicas`` is what "all" means where scaling is automatic: what the
    stable revision had when the rollout began, or what the load asked for before a later step. With it, ``replicas``
    is the least of the candidate. ``baseline`` is what was counted of the stable revision in the steps that are done,
    and of the one before after the promotion. ``ray_sessions`` are the lives of the heads, by cluster.
    """

    phase: RolloutPhase
    leaving: str | None = None
    step: int = 0
    weight: int = 0
    replicas: int | None = None
    stable_replicas: int | None = None
    scaled_replicas: int | None = None
    started_at: datetime.datetime
    step_started_at: datetime.datetime
    attempt: int = 0
    proof_failures: int = 0
    proof_attempts: int = 0
    proof_tried_at: datetime.datetime | None = None
    proved: bool = False
    proof_digest: str | None = None
    proof_message: str = ""
    signature_changes: tuple[str, ...] = ()
    ray_sessions: Mapping[str, str] = field(default_factory=dict)
    paused_by_request: bool = False
    progress_s: int = 0
    progress_at: datetime.datetime | None = None
    stable_lost_at: datetime.datetime | None = None
    analysis: Run | None = None
    baseline: Counters = field(default_factory=Counters)
    health: Health = Health()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Which revisions have a place, and the rollout between them; None as rollout is Idle.

    ``attempts`` outlive the rollout: a number that went back would restart the replicas of what serves.
    ``short_since`` is since when the stable revision lacks replicas, as Ray or a gateway sees it.
    """

    stable: str | None = None
    candidate: str | None = None
    last_stable: str | None = None
    previous_stable: str | None = None
    rollout: Rollout | None = None
    quarantine: tuple[Quarantine, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    rollback: Rollback | None = None
    handled: HandledRequest | None = None
    short_since: datetime.datetime | None = None

    @property
    def phase(self) -> RolloutPhase | None:
        return self.rollout.phase if self.rollout is not None else None

    @property
    def rules(self) -> PhaseRules:
        """What holds in the present phase."""
        return rules_of(self.phase)

    @property
    def leaving(self) -> str | None:
        return self.rollout.leaving if self.rollout is not None else None

    @property
    def active(self) -> tuple[str, ...]:
        """Revisions that have a place: they are never deleted."""
        return tuple(dict.fromkeys(r for r in (self.stable, self.candidate, self.leaving) if r is not None))

    def revision_at(self, place: Place) -> str | None:
        match place:
            case Place.STABLE:
                return self.stable
            case Place.CANDIDATE:
                return self.candidate
            case Place.LEAVING:
                return self.leaving
        assert_never(place)

    def routed_at(self, place: Place) -> str | None:
        """The revision of a place; None where the gateways don't know it in this phase."""
        return self.revision_at(place) if place in self.rules.routed else None

    @property
    def running(self) -> tuple[str, ...]:
        """Revisions that have replicas in this phase."""
        places = (self.revision_at(place) for place in Place if place in self.rules.running)
        return tuple(dict.fromkeys(revision for revision in places if revision is not None))

    def quarantined(self, revision: str) -> Quarantine | None:
        return next((entry for entry in self.quarantine if entry.revision == revision), None)

    def without_rollout(self) -> Serving:
        """Idle: what is stable stays so."""
        attempts = tuple(attempt for attempt in self.attempts if attempt.revision == self.stable)
        attempts += tuple(attempt for attempt in self.attempts if self.quarantined(attempt.revision) is not None)
        attempts = tuple(dict.fromkeys(attempts))[:ATTEMPTS_MAX]
        return replace(self, candidate=None, rollout=None, attempts=attempts)

    def attempt_of(self, revision: str) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.revision == revision), None)

    def with_attempt(self, attempt: Attempt) -> Serving:
        others = [other for other in self.attempts if other.revision != attempt.revision]
        others.sort(key=lambda other: other.revision == self.stable)  # what serves is the last to be forgotten
        return replace(self, attempts=(*others[-ATTEMPTS_MAX + 1 :], attempt))


_RENAMED = (
    ("leaving", "previous_revision"),
    ("weight", "weight_basis_points"),
    ("replicas", "candidate_replicas"),
    ("progress_s", "progress_seconds"),
)
"""Fields of a rollout whose name in the status is another."""


def recall(status: ModelDeploymentStatus) -> Serving:
    """Reads back what ``record`` wrote."""
    return Serving(
        stable=status.stable_revision,
        candidate=status.candidate_revision,
        last_stable=status.last_stable_revision,
        previous_stable=status.previous_stable_revision,
        rollout=_recall_rollout(status.rollout) if status.rollout is not None else None,
        quarantine=status.quarantine,
        attempts=status.attempts,
        rollback=status.rollback,
        handled=status.handled_request,
        short_since=status.replicas_missing_since,
    )


def record(serving: Serving, status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status with these facts in it, everything else as it was; ``request`` is the people's own."""
    return status.model_copy(
        update={
            "stable_revision": serving.stable,
            "candidate_revision": serving.candidate,
            "last_stable_revision": serving.last_stable,
            "previous_stable_revision": serving.previous_stable,
            "rollout": _record_rollout(serving.rollout, serving.candidate) if serving.rollout is not None else None,
            "quarantine": serving.quarantine,
            "attempts": serving.attempts,
            "rollback": serving.rollback,
            "handled_request": serving.handled,
            "replicas_missing_since": serving.short_since,
        }
    )


def _recall_rollout(rollout: RolloutStatus) -> Rollout:
    """Only the fields that have another form in the status are named."""
    began = rollout.started_at or datetime.datetime.fromtimestamp(0, datetime.UTC)
    return mapping.from_api(
        Rollout,
        rollout,
        renamed=_RENAMED,
        started_at=began,
        step_started_at=rollout.step_started_at or began,
        ray_sessions={known.cluster: known.session for known in rollout.ray_sessions},
        proof_message=rollout.proof_message or "",
        signature_changes=rollout.signature_changes or (),
        analysis=analysis_memory.recall(rollout.analysis) if rollout.analysis is not None else None,
        baseline=Counters(**rollout.baseline.model_dump()) if rollout.baseline is not None else Counters(),
        health=mapping.from_api(Health, rollout.health) if rollout.health is not None else Health(),
    )


def _record_rollout(rollout: Rollout, candidate: str | None) -> RolloutStatus:
    """Only the fields that have another form in the status are named."""
    sessions = sorted(rollout.ray_sessions.items())
    return mapping.to_api(
        RolloutStatus,
        rollout,
        renamed=_RENAMED,
        revision=candidate,
        weight=rollout.weight * 100 // FULL_WEIGHT,
        ray_sessions=tuple(RaySession(cluster=cluster, session=session) for cluster, session in sessions),
        proof_message=rollout.proof_message or None,
        signature_changes=rollout.signature_changes or None,
        analysis=analysis_memory.record(rollout.analysis) if rollout.analysis is not None else None,
        baseline=_record_baseline(rollout.baseline),
        health=mapping.to_api(RolloutHealth, rollout.health) if rollout.health != Health() else None,
    )


def _record_baseline(counted: Counters) -> BaselineStatus | None:
    if counted == Counters():
        return None
    return BaselineStatus(
        requests=counted.requests,
        server_errors=counted.server_errors,
        labelled=counted.labelled,
        correct=counted.correct,
    )
