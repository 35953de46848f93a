"""What the operator reports in ``status``: typed, bounded, and the source from which the CRD is generated.

A status must never be refused by the API server for being too long or too fine: messages are cut, times are whole
seconds in UTC (so that a value equals itself after a round trip, and nothing is written when nothing changed).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from fairlead_operator.api.analysis_status import AnalysisStatus, BaselineStatus
from fairlead_operator.api.model import ApiModel
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
ATTEMPTS_MAX = 4
BASIS_POINTS_MAX = 10000
CRASHES_MAX = 3
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
    """The last time when the status of the condition changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """The reason for the status in one CamelCase word."""
    message: Message
    """The details in words."""


class RolloutHealth(ApiModel):
    """What was observed of the candidate with traffic, or of the promoted revision within the rollback window."""

    unwell_since: Time | None = None
    """The time since when the revision is not ready. Absent while it is ready."""
    is_crash: bool = False
    """Whether Ray reports the revision as unhealthy since then."""
    crashes: Annotated[tuple[Time, ...], Field(max_length=CRASHES_MAX)] = ()
    """The last times when Ray started to report the revision as unhealthy."""
    is_restarting: bool = False
    """Whether the head of the Ray cluster restarted and the revision was not ready again since. Missing replicas do not
    count as a failure in this time.
    """


class RaySession(ApiModel):
    """The session of the head of one Ray cluster. A new session means that the cluster lost all replicas."""

    cluster: ClusterName
    """The name of the Ray cluster."""
    session: Annotated[str, Field(max_length=253)]
    """The session name that the head of the Ray cluster reports."""


class RolloutStatus(ApiModel):
    """The state of the current rollout. Each step is recorded here before it is taken."""

    phase: RolloutPhase
    """The phase of the rollout: Starting, Connecting, Proving, Widening, Shifting, Restoring, Promoting, Watching,
    Withdrawing, Draining, Removing, Retiring or Retired.
    """
    revision: RevisionName | None = None
    """The candidate revision."""
    previous_revision: RevisionName | None = None
    """The revision that is being replaced or withdrawn."""
    step: Count = 0
    """The index of the current step, starting with 0. The number of steps means that the candidate takes all traffic.
    """
    weight: Annotated[int, Field(ge=0, le=100)] = 0
    """The percentage of requests that go to the candidate, as a whole number."""
    weight_basis_points: Annotated[int, Field(ge=0, le=BASIS_POINTS_MAX)] = 0
    """The same percentage in hundredths of a percent, from 0 to 10000."""
    candidate_replicas: Count | None = None
    """The number of replicas of the candidate in this step: the maximum or, with automatic scaling, the minimum. If
    absent, it has as many as the stable revision.
    """
    stable_replicas: Count | None = None
    """The maximum number of replicas of the stable revision. If absent, there is no limit besides `spec.scaling`."""
    scaled_replicas: Count | None = None
    """The number of replicas that the rollout works with if scaling is automatic: what the stable revision had when the
    rollout started or, if the load asked for more before a later step, that number. Until the rollout ends, the stable
    revision keeps as many.
    """
    started_at: Time | None = None
    """The time when the rollout started."""
    step_started_at: Time | None = None
    """The time when the current step started: when every gateway had confirmed the previous one."""
    attempt: Count = 0
    """The number of retries of the candidate."""
    proof_failures: Count = 0
    """The number of consecutive proofs that the candidate itself failed."""
    proof_attempts: Count = 0
    """The number of consecutive attempts that did not prove the candidate, for any reason."""
    proof_tried_at: Time | None = None
    """The time when the last of these attempts ended."""
    proved: bool = False
    """Whether a replica of the candidate, called through a gateway, reported that it can serve."""
    proof_message: Message | None = None
    """Why the last attempt failed, or why the candidate's example was not answered in full."""
    proof_digest: DigestText | None = None
    """The digest of the content that the replica loaded."""
    signature_changes: (
        Annotated[
            tuple[Annotated[str, Field(max_length=SIGNATURE_CHANGE_MAX)], ...],
            Field(
                max_length=SIGNATURE_CHANGES_MAX,
            ),
        ]
        | None
    ) = None
    """The differences of the candidate's signature that would break callers of the stable revision."""
    ray_sessions: Annotated[
        tuple[RaySession, ...],
        Field(
            max_length=RAY_SESSIONS_MAX,
            json_schema_extra={LIST_MAP_KEYS: ["cluster"]},
        ),
    ] = ()
    """The sessions of the Ray clusters in which the current step started."""
    paused_by_request: bool = False
    """Whether a person paused the rollout. `spec.rollout.paused` pauses it as well."""
    progress_seconds: Count = 0
    """The seconds in which the candidate could have made progress. Only these count towards the progress deadline."""
    progress_at: Time | None = None
    """The time until which `progressSeconds` was counted."""
    stable_lost_at: Time | None = None
    """The time since when no gateway has a ready replica of the stable revision."""
    analysis: AnalysisStatus | None = None
    """The analysis of the current step, or of the promoted revision."""
    baseline: BaselineStatus | None = None
    """The counters of the revision that was stable before, from the completed steps."""
    health: RolloutHealth | None = None
    """What was observed of the candidate with traffic, or of the promoted revision within the rollback window."""
    message: Message | None = None
    """What the rollout waits for, in words."""


class Request(ApiModel):
    """A request of a person, written by `kubectl fairlead`. The operator never writes this field."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    """A unique ID. Each request is handled once."""
    verb: Verb
    """The action: Promote, PromoteFull, Pause, Resume, Abort, Retry or Rollback."""
    revision: RevisionName
    """The revision that the request is meant for. The request is refused if that revision changed in the meantime."""
    step: Count | None = None
    """The index of the step that a Promote is meant for."""
    number: RevisionNumber | None = None
    """The number of the revision to roll back to. If unset, the previous revision is used."""
    time: Time
    """The time when the request was made."""


class HandledRequest(ApiModel):
    """The last request that was handled."""

    id: Annotated[str, Field(max_length=64)]
    """The ID of the request."""
    verb: Verb
    """The action that was asked for."""
    outcome: RequestOutcome
    """The outcome: Done or Refused."""
    message: Message = ""
    """The outcome in words."""
    time: Time
    """The time when the request was handled."""


class Rollback(ApiModel):
    """The rollback that a person asked for. It ends when the spec changes, or with a Retry."""

    revision: RevisionName
    """The revision that serves."""
    instead_of: RevisionName
    """The revision that the spec describes."""


class Quarantine(ApiModel):
    """A revision that failed or was aborted. It is not tried again until the spec changes, or until a Retry."""

    revision: RevisionName
    """The name of the revision."""
    reason: Annotated[str, Field(max_length=128)]
    """The reason for the quarantine in one CamelCase word."""
    message: Message = ""
    """The reason in words."""
    time: Time
    """The time when the revision was quarantined."""

    @property
    def is_by_request(self) -> bool:
        """Whether a person gave the revision up: that holds only while the spec asks for it."""
        return self.reason in BY_REQUEST


class Attempt(ApiModel):
    """The restarts of a revision that Ray had given up."""

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
                "is an Abort that is still to be carried out: no other request takes its place until it is",
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
    """The revision that takes all traffic, except the share of the candidate."""
    candidate_revision: RevisionName | None = None
    """The revision that is being rolled out."""
    last_stable_revision: RevisionName | None = None
    """The last revision that was stable. It is started again if nothing is stable and the candidate failed."""
    previous_stable_revision: RevisionName | None = None
    """The revision that was stable before the current one. A Rollback without a number goes to it."""
    rollout: RolloutStatus | None = None
    """The state of the current rollout. Absent while no rollout is in progress."""
    rollback: Rollback | None = None
    """The rollback that a person asked for."""
    request: Request | None = None
    """The request of a person that the operator handles next."""
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
    """The time since when the stable revision has fewer ready replicas than desired."""
    scaling: ScalingStatus | None = None
    """The replicas of the stable revision, and what they wait for."""
    selector: Annotated[str, Field(max_length=512)] | None = None
    """The label selector of the stable revision's pods, for the scale subresource."""
    endpoints: Endpoints | None = None
    """The URLs of the model. Absent if the operator is not configured with a public URL for the namespace."""
    model: ModelStatus | None = None
    """The model of the stable revision."""
    attempts: Annotated[
        tuple[Attempt, ...], Field(max_length=ATTEMPTS_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    """The restarts of revisions that Ray had given up."""
    quarantine: Annotated[
        tuple[Quarantine, ...], Field(max_length=QUARANTINE_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    """The revisions that failed or were aborted, and are not tried again."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra={LIST_MAP_KEYS: ["type"]})] = ()
    """The current observations of the object's state: Available, Ready, Accepted, Progressing, Degraded, Reconciling
    and Stalled.
    """

    def to_wire(self) -> dict[str, Any]:
        """The status as the API server stores it: camelCase, nothing that is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
