"""What the operator reports in ``status``: typed, bounded, and the source from which the CRD is generated.

A status must never be refused by the API server for being too long or too fine: messages are cut, times are whole
seconds in UTC (so that a value equals itself after a round trip, and nothing is written when nothing changed).
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, with_config

from fairlead_operator.api.analysis_status import Run
from fairlead_operator.api.counts import Baseline
from fairlead_operator.api.evaluation_status import Evaluation
from fairlead_operator.api.health import Health
from fairlead_operator.api.model import MEMORY, ApiModel, is_empty
from fairlead_operator.api.revision_status import (
    ClusterName,
    Count,
    DigestText,
    Endpoints,
    ModelStatus,
    RevisionName,
    RevisionNumber,
    RevisionStatus,
    ScalingStatus,
)
from fairlead_operator.api.rules import rule, rules
from fairlead_operator.api.text import LIST_MAP_KEYS, Message, Time

REVISIONS_MAX = 64
QUARANTINE_MAX = 10
CONDITIONS_MAX = 16
ATTEMPTS_MAX = 4
BASIS_POINTS_MAX = 10000
SIGNATURE_CHANGES_MAX = 8
SIGNATURE_CHANGE_MAX = 256
RAY_SESSIONS_MAX = 4
BY_REQUEST = ("Aborted", "RolledBack")
"""Reasons of a quarantine that a person asked for."""


class Phase(StrEnum):
    """A summary of the state in one word. Decisions are made from the conditions and `status.rollout`."""

    PENDING = "Pending"
    STARTING = "Starting"
    READY = "Ready"
    ROLLING_OUT = "RollingOut"
    PAUSED = "Paused"
    DEGRADED = "Degraded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    TERMINATING = "Terminating"


class RolloutPhase(StrEnum):
    """The phase of a rollout."""

    STARTING = "Starting"  # the candidate's replicas are being started
    CONNECTING = "Connecting"  # the gateways get it at weight 0, and have to see its replicas
    PROVING = "Proving"  # a real prediction has to succeed before any traffic
    WIDENING = "Widening"  # its content is known and pinned: the rest of its replicas are being started
    SHIFTING = "Shifting"  # traffic moves, step by step
    RESTORING = "Restoring"  # it is given up while the stable one has few replicas: they come back batch by batch
    PROMOTING = "Promoting"  # it is the stable revision now; every gateway has to confirm that
    WATCHING = "Watching"  # it serves, and the one before it stays warm, one map change away
    WITHDRAWING = "Withdrawing"  # it lost its traffic, or never had any; every gateway has to confirm that
    DRAINING = "Draining"  # the revision that leaves ends its requests
    REMOVING = "Removing"  # the revision that leaves is taken from the gateways
    RETIRING = "Retiring"  # suspended or deleted: all traffic is being taken away
    RETIRED = "Retired"  # every gateway has confirmed that: the replicas may go


class Verb(StrEnum):
    """The action that a request asks for."""

    PROMOTE = "Promote"  # the pause is over: the next step
    PROMOTE_FULL = "PromoteFull"  # no more steps: everything goes to the candidate
    PAUSE = "Pause"
    RESUME = "Resume"
    ABORT = "Abort"  # the candidate goes, and its revision isn't tried again
    RETRY = "Retry"  # the revision that isn't tried again is
    ROLLBACK = "Rollback"  # an earlier revision serves in place of the desired one


class RequestOutcome(StrEnum):
    """The outcome of a request."""

    DONE = "Done"
    REFUSED = "Refused"


class ConditionStatus(StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """An observation of the object's state, in the form of `metav1.Condition`."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """The type of the condition in CamelCase."""
    status: ConditionStatus
    """The status of the condition: True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` that the condition was set for."""
    last_transition_time: Time
    """The last time at which the status of the condition changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """The reason for the status in one CamelCase word."""
    message: Message
    """A description of the details."""


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class RaySession:
    """The session of the head of a Ray cluster. A new session means that the Ray cluster lost all replicas."""

    cluster: ClusterName
    """The name of the Ray cluster."""
    session: Annotated[str, Field(max_length=253)]
    """The session name that the head of the Ray cluster reports."""


EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The state of the current rollout. Each step is recorded here before it is taken.

    This is the memory from which every pass decides. ``revision``, ``weight_percent`` and ``message`` only report.
    """

    phase: RolloutPhase
    """The phase of the rollout. Starting: replicas of the candidate start. Connecting: gateways find them. Proving: a
    test prediction is sent. Widening: the other replicas start. Shifting: traffic moves. Restoring: the stable revision
    gets its replicas back. Promoting: the candidate becomes stable. Watching: the previous revision keeps running.
    Withdrawing: the candidate loses its traffic. Draining: a revision finishes its last requests. Removing: gateways
    remove it. Retiring, Retired: the model is stopped.
    """
    revision: RevisionName | None = dataclasses.field(default=None, compare=False)
    """The candidate revision."""
    leaving: Annotated[RevisionName | None, Field(alias="previousRevision")] = None
    """The revision that is being replaced or removed."""
    step: Count = 0
    """The index of the current step, starting with 0. If it equals the number of steps, the candidate gets all traffic.
    """
    weight_percent: Annotated[int, Field(ge=0, le=100, alias="weight")] = dataclasses.field(default=0, compare=False)
    """The percentage of requests that go to the candidate (0 to 100), rounded down."""
    weight: Annotated[int, Field(ge=0, le=BASIS_POINTS_MAX, alias="weightBasisPoints")] = 0
    """The share of requests that go to the candidate, in hundredths of a percent (0 to 10000)."""
    replicas: Annotated[Count | None, Field(alias="candidateReplicas")] = None
    """The number of replicas of the candidate in this step: the maximum or, with automatic scaling, the minimum. If
    absent, the candidate has as many replicas as the stable revision.
    """
    stable_replicas: Count | None = None
    """The maximum number of replicas of the stable revision in this step. If absent, only `spec.scaling` limits it."""
    scaled_replicas: Count | None = None
    """The number of replicas that this rollout calculates with if scaling is automatic: the number that the stable
    revision had when the rollout started or, if the load required more before a later step, that number. The stable
    revision keeps at least this number until the rollout ends.
    """
    started_at: Time = EPOCH
    """The time at which the rollout started."""
    step_started_at: Time = EPOCH
    """The time at which the current step started, which is when every gateway had confirmed the previous step."""
    proof_failures: Count = 0
    """The number of consecutive test predictions that failed because of the candidate itself."""
    proof_attempts: Count = 0
    """The number of consecutive test predictions of the candidate that did not succeed, for any reason."""
    proof_tried_at: Time | None = None
    """The time at which the last test prediction of the candidate ended."""
    proved: bool = False
    """Whether the candidate passed its test prediction, which is sent to one of its replicas through a gateway."""
    proof_message: Annotated[Message, Field(exclude_if=is_empty)] = ""
    """The reason why the last test prediction of the candidate failed, or was not answered in full."""
    proof_digest: DigestText | None = None
    """The digest of the content that the replica with the test prediction loaded."""
    signature_changes: Annotated[
        tuple[Annotated[str, Field(max_length=SIGNATURE_CHANGE_MAX)], ...],
        Field(max_length=SIGNATURE_CHANGES_MAX, exclude_if=is_empty),
    ] = ()
    """The differences between the inputs and outputs of the candidate and those of the stable revision that would break
    clients.
    """
    evaluation: Evaluation | None = None
    """The evaluation record of the candidate, as reported with its test prediction. Absent if none was required."""
    ray_sessions: Annotated[
        tuple[RaySession, ...], Field(max_length=RAY_SESSIONS_MAX, json_schema_extra={LIST_MAP_KEYS: ["cluster"]})
    ] = ()
    """The session of the head of each Ray cluster at the start of the current step. A new session means that the Ray
    cluster lost all replicas.
    """
    paused_by_request: bool = False
    """Whether a person paused the rollout. `spec.rollout.paused` pauses it as well."""
    progress_s: Annotated[Count, Field(alias="progressSeconds")] = 0
    """The number of seconds that count towards `spec.rollout.progressDeadlineSeconds`. Time does not count while the
    rollout is paused or while Ray or a gateway cannot be read.
    """
    progress_at: Time | None = None
    """The time up to which `progressSeconds` was counted."""
    stable_lost_at: Time | None = None
    """The time at which the stable revision lost its last ready replica in every gateway. Absent while it has one."""
    analysis: Run | None = None
    """The analysis of the candidate in the current step or, after the promotion, of the promoted revision."""
    baseline: Annotated[Baseline, Field(exclude_if=lambda counted: counted == Baseline())] = dataclasses.field(
        default_factory=Baseline
    )
    """The counters of the previous stable revision in the completed steps of the rollout. The promoted revision is
    compared with them.
    """
    health: Annotated[Health, Field(exclude_if=lambda health: health == Health())] = dataclasses.field(
        default_factory=Health
    )
    """The health of the candidate with traffic, or of the promoted revision within the rollback window."""
    message: Message | None = dataclasses.field(default=None, compare=False)
    """A description of what the rollout waits for."""

    def session_of(self, cluster: str) -> str | None:
        return next((known.session for known in self.ray_sessions if known.cluster == cluster), None)


class Request(ApiModel):
    """A request of a person, written by `kubectl fairlead`. The operator never writes this field."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    """A unique ID. Each request is handled once."""
    verb: Verb
    """The action: Promote, PromoteFull, Pause, Resume, Abort, Retry or Rollback."""
    revision: RevisionName
    """The revision that the request is meant for. The request is refused if another revision took its place."""
    step: Count | None = None
    """The index of the step that a Promote is meant for. The Promote is refused in another step."""
    number: RevisionNumber | None = None
    """The number of the revision that a Rollback returns to. If unset, it is the stable revision while a rollout is in
    progress, and the previous stable revision otherwise.
    """
    time: Time
    """The time at which the request was made."""


class HandledRequest(ApiModel):
    """The last request that was handled."""

    id: Annotated[str, Field(max_length=64)]
    """The ID of the request."""
    verb: Verb
    """The action: Promote, PromoteFull, Pause, Resume, Abort, Retry or Rollback."""
    outcome: RequestOutcome
    """The outcome: Done or Refused."""
    message: Message = ""
    """A description of the outcome."""
    time: Time
    """The time at which the request was handled."""


class Rollback(ApiModel):
    """The rollback that a person requested. It ends when the spec changes, or with a Retry."""

    revision: RevisionName
    """The revision that the rollback returned to."""
    instead_of: RevisionName
    """The revision that the spec describes, which does not serve because of the rollback."""


class Quarantine(ApiModel):
    """A revision that failed, or that a person gave up by an Abort or a Rollback.

    Fairlead does not start it again, unless a Retry is requested. A revision that a person gave up is removed from this
    list when the spec changes.
    """

    revision: RevisionName
    """The name of the revision."""
    reason: Annotated[str, Field(max_length=128)]
    """The reason why the revision is in the list, in one CamelCase word."""
    message: Message = ""
    """A description of the reason."""
    time: Time
    """The time at which the revision was added to the list."""

    @property
    def is_by_request(self) -> bool:
        """Whether a person gave the revision up: that holds only while the spec asks for it."""
        return self.reason in BY_REQUEST


class Attempt(ApiModel):
    """The restarts of a revision whose replicas Ray no longer tried to start."""

    revision: RevisionName
    """The name of the revision."""
    number: Count
    """The number of restarts."""
    time: Time
    """The time of the last restart."""


class ModelDeploymentStatus(ApiModel):
    """The observed state of a ModelDeployment."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                """!has(oldSelf.request) || oldSelf.request.verb != 'Abort'
                || (has(oldSelf.handledRequest) && oldSelf.handledRequest.id == oldSelf.request.id)
                || (has(self.request) && self.request.id == oldSelf.request.id)""",
                "must not be replaced while an Abort is pending: wait until status.handledRequest has its id",
                field=".request",
            )
        )
    )

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` that the operator processed last."""
    phase: Phase | None = None
    """A summary of the state: Pending, Starting, Ready, RollingOut, Paused, Degraded, Failed, Suspended or Terminating.
    Use the conditions for automation.
    """
    stable_revision: RevisionName | None = None
    """The revision that gets all traffic, except for the share of the candidate."""
    candidate_revision: RevisionName | None = None
    """The revision that is being rolled out."""
    last_stable_revision: RevisionName | None = None
    """The last revision that was stable. It is started again if nothing is stable and the candidate failed."""
    previous_stable_revision: RevisionName | None = None
    """The revision that was stable before the current one. A Rollback without a number returns to it, unless a rollout
    is in progress.
    """
    rollout: Rollout | None = None
    """The state of the current rollout. Absent while no rollout is in progress."""
    rollback: Rollback | None = None
    """The rollback that a person requested. It ends when the spec changes, or with a Retry. Absent if there is none."""
    request: Request | None = None
    """The last request that a person made with `kubectl fairlead`. The operator does not change it: it is handled if
    `handledRequest` has its ID.
    """
    handled_request: HandledRequest | None = None
    """The last request that was handled, with its outcome."""
    revisions: Annotated[
        tuple[RevisionStatus, ...], Field(max_length=REVISIONS_MAX, json_schema_extra={LIST_MAP_KEYS: ["name"]})
    ] = ()
    """The revisions that run or are kept for a rollback."""
    replicas: Count = 0
    """The number of replicas that exist, over all revisions."""
    ready_replicas: Count = 0
    """The number of ready replicas, over all revisions."""
    replicas_missing_since: Time | None = None
    """The time at which the stable revision started to have fewer ready replicas than desired. Absent while it has
    enough.
    """
    at_zero_since: Time | None = None
    """The time at which the model was scaled to zero because it had no requests. Absent while it has replicas."""
    scaling: ScalingStatus | None = None
    """The scaling state of the stable revision or, if there is none, of the candidate."""
    selector: Annotated[str, Field(max_length=512)] | None = None
    """The label selector of the stable revision's pods, for the scale subresource."""
    endpoints: Endpoints | None = None
    """The URLs of the model. Absent if the operator is not configured with a public URL for the namespace."""
    model: ModelStatus | None = None
    """The model of the stable revision."""
    attempts: Annotated[
        tuple[Attempt, ...], Field(max_length=ATTEMPTS_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    """The restarts of revisions whose replicas Ray no longer tried to start."""
    quarantine: Annotated[
        tuple[Quarantine, ...], Field(max_length=QUARANTINE_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    """The last 10 revisions that failed, or that a person aborted or rolled back. Fairlead does not start them again,
    unless a Retry is requested.
    """
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=CONDITIONS_MAX, json_schema_extra={LIST_MAP_KEYS: ["type"]})
    ] = ()
    """The current observations of the object's state: Available, Ready, Accepted, Progressing, Degraded, Reconciling
    and Stalled, and DriftDetected where `spec.monitoring` asks for it.
    """

    def to_wire(self) -> dict[str, Any]:
        """The status as the API server stores it: camelCase, nothing that is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
