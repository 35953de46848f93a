"""Which revisions have a place, and the rollout between them: read from ``status``, written back before each step."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from pydantic import TypeAdapter

from fairlead_operator.api.status import (
    ATTEMPTS_MAX,
    Attempt,
    HandledRequest,
    ModelDeploymentStatus,
    Quarantine,
    Rollback,
    Rollout,
    RolloutPhase,
)
from fairlead_operator.state.phases import PhaseRules, Place, rules_of
from fairlead_operator.state.route import FULL_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Which revisions have a place, and the rollout between them; None as rollout is Idle.

    ``attempts`` outlive the rollout: a number that went back would restart the replicas of what serves.
    ``short_since`` is since when the stable revision lacks replicas, as Ray or a gateway sees it. ``at_zero_since`` is
    since when it has none because it had no requests.
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
    at_zero_since: datetime.datetime | None = None

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


_FIELDS: Final[Mapping[str, str]] = {
    "stable": "stable_revision",
    "candidate": "candidate_revision",
    "last_stable": "last_stable_revision",
    "previous_stable": "previous_stable_revision",
    "rollout": "rollout",
    "quarantine": "quarantine",
    "attempts": "attempts",
    "rollback": "rollback",
    "handled": "handled_request",
    "short_since": "replicas_missing_since",
    "at_zero_since": "at_zero_since",
}
"""Each fact, and the field of the status that keeps it."""

_ROLLOUT: Final = TypeAdapter(Rollout)


def recall(status: ModelDeploymentStatus) -> Serving:
    """Reads back what ``record`` wrote."""
    return Serving(**{fact: getattr(status, field) for fact, field in _FIELDS.items()})


def record(serving: Serving, status: ModelDeploymentStatus, *, message: str | None = None) -> ModelDeploymentStatus:
    """The status with these facts in it, everything else as it was; ``request`` is the people's own.

    ``message`` says what the rollout waits for.
    """
    kept = {field: getattr(serving, fact) for fact, field in _FIELDS.items()}
    return status.model_copy(update={**kept, "rollout": _reported(serving, message)})


def _reported(serving: Serving, message: str | None) -> Rollout | None:
    """Checked and cut as the API server takes it."""
    rollout = serving.rollout
    if rollout is None:
        return None
    percent = rollout.weight * 100 // FULL_WEIGHT
    reported = replace(rollout, revision=serving.candidate, weight_percent=percent, message=message)
    return _ROLLOUT.validate_python(_ROLLOUT.dump_python(reported, by_alias=True))
