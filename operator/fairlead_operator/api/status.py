"""What the operator reports in ``status``: typed, bounded, and the source from which the CRD is generated.

A status must never be refused by the API server for being too long or too fine: messages are cut, times are whole
seconds in UTC (so that a value equals itself after a round trip, and nothing is written when nothing changed).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from fairlead_operator.api import names
from fairlead_operator.api.analysis_status import AnalysisStatus, BaselineStatus
from fairlead_operator.api.model import ApiModel
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

Count = Annotated[int, Field(ge=0, le=100000)]
RevisionName = Annotated[str, Field(max_length=10)]
ClusterName = Annotated[str, Field(max_length=names.CLUSTER_MAX)]
RevisionNumber = Annotated[int, Field(ge=0, le=2147483647)]
Uri = Annotated[str, Field(max_length=2048)]
DigestText = Annotated[str, Field(max_length=71)]


class Phase(StrEnum):
    """One word for people and printer columns; decisions are made from the conditions and ``status.rollout``."""

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
    """Where the change from one revision to the next stands; no rollout at all is ``rollout: null``."""

    STARTING = "Starting"  # the candidate's replicas are being started
    CONNECTING = "Connecting"  # the gateways are being told of it, at weight 0, and have to see its replicas
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


class RevisionRole(StrEnum):
    STABLE = "Stable"
    CANDIDATE = "Candidate"
    WARM = "Warm"
    DRAINING = "Draining"
    RETIRED = "Retired"


class Verb(StrEnum):
    """What a person can ask of a rollout, beside changing the spec."""

    PROMOTE = "Promote"  # the pause is over: the next step
    PROMOTE_FULL = "PromoteFull"  # no more steps: everything goes to the candidate
    PAUSE = "Pause"
    RESUME = "Resume"
    ABORT = "Abort"  # the candidate goes, and its revision isn't tried again
    RETRY = "Retry"  # the revision that isn't tried again is
    ROLLBACK = "Rollback"  # an earlier revision serves in place of the wished one


class RequestOutcome(StrEnum):
    DONE = "Done"
    REFUSED = "Refused"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One observation, in the shape of ``metav1.Condition``."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    status: ConditionStatus
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    last_transition_time: Time
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Message


class RolloutHealth(ApiModel):
    """What was seen of the revision that moved last: the candidate with traffic, or the stable one while watched."""

    unwell_since: (
        Annotated[Time, Field(description="Since when it lacks readiness; absent while it is well.")] | None
    ) = None
    is_crash: Annotated[bool, Field(description="Whether Ray itself calls it unhealthy since then.")] = False
    crashes: Annotated[
        tuple[Time, ...], Field(max_length=CRASHES_MAX, description="When Ray last began to call it unhealthy.")
    ] = ()
    is_restarting: Annotated[
        bool,
        Field(description="Whether Ray's head lost it, so that its absence proves nothing until it was seen again."),
    ] = False


class RaySession(ApiModel):
    """The life of one Ray cluster's head: another session means that it lost every replica."""

    cluster: ClusterName
    session: Annotated[str, Field(max_length=253)]


class RolloutStatus(ApiModel):
    """The rollout's own memory: written before the step that it announces."""

    phase: RolloutPhase
    revision: RevisionName | None = None
    previous_revision: RevisionName | None = None
    step: Count = 0
    weight: Annotated[int, Field(ge=0, le=100, description="The candidate's share of requests in whole percent.")] = 0
    weight_basis_points: Annotated[
        int, Field(ge=0, le=BASIS_POINTS_MAX, description="The same share in hundredths of a percent.")
    ] = 0
    candidate_replicas: (
        Annotated[Count, Field(description="The most replicas that the candidate may have; all of them if absent.")]
        | None
    ) = None
    stable_replicas: (
        Annotated[
            Count, Field(description="The most replicas that the stable revision may have; all of them if absent.")
        ]
        | None
    ) = None
    started_at: Time | None = None
    step_started_at: Time | None = None
    attempt: Count = 0
    proof_failures: Annotated[
        Count, Field(description="The number of proofs in a row that the candidate itself failed.")
    ] = 0
    proof_attempts: Annotated[
        Count, Field(description="The number of attempts in a row that did not prove the candidate, for any reason.")
    ] = 0
    proof_tried_at: Annotated[Time, Field(description="When the last of these attempts ended.")] | None = None
    proved: Annotated[
        bool,
        Field(description="Whether a replica of the candidate, asked through a gateway, reported that it can serve."),
    ] = False
    proof_message: (
        Annotated[
            Message,
            Field(description="Why the last attempt failed, or why the candidate's example was not answered in full."),
        ]
        | None
    ) = None
    proof_digest: (
        Annotated[DigestText, Field(description="The digest of the content that the replica loaded.")] | None
    ) = None
    signature_changes: (
        Annotated[
            tuple[Annotated[str, Field(max_length=SIGNATURE_CHANGE_MAX)], ...],
            Field(
                max_length=SIGNATURE_CHANGES_MAX,
                description="Where the candidate's signature breaks the contract of the stable revision's.",
            ),
        ]
        | None
    ) = None
    ray_sessions: Annotated[
        tuple[RaySession, ...],
        Field(
            max_length=RAY_SESSIONS_MAX,
            json_schema_extra={LIST_MAP_KEYS: ["cluster"]},
            description="The lives of the Ray heads in which this began, of each cluster that a revision runs on.",
        ),
    ] = ()
    paused_by_request: Annotated[
        bool, Field(description="Whether a person asked to hold it; spec.rollout.paused holds it as well.")
    ] = False
    progress_seconds: Annotated[
        Count, Field(description="Seconds in which the candidate could have made progress; the deadline counts these.")
    ] = 0
    progress_at: Annotated[Time, Field(description="Until when progressSeconds was counted.")] | None = None
    stable_lost_at: (
        Annotated[
            Time,
            Field(description="Since when no gateway has a ready replica of the stable revision."),
        ]
        | None
    ) = None
    analysis: AnalysisStatus | None = None
    baseline: BaselineStatus | None = None
    health: RolloutHealth | None = None
    message: Message | None = None


class Request(ApiModel):
    """What a person asks for, written by `kubectl fairlead`; the operator reads it and never writes it."""

    id: Annotated[str, Field(min_length=1, max_length=64, description="Names this request: it is handled once.")]
    verb: Verb
    revision: Annotated[
        RevisionName, Field(description="The revision that it was meant for; refused where that changed meanwhile.")
    ]
    step: Annotated[Count, Field(description="The step that a Promote was meant for.")] | None = None
    number: Annotated[RevisionNumber, Field(description="The revision that a Rollback goes to.")] | None = None
    time: Time


class HandledRequest(ApiModel):
    """What became of the last request that was looked at."""

    id: Annotated[str, Field(max_length=64)]
    verb: Verb
    outcome: RequestOutcome
    message: Message = ""
    time: Time


class RolledBack(ApiModel):
    """A person's choice of an earlier revision; it ends with a change of the spec or a Retry."""

    revision: RevisionName
    instead_of: RevisionName


class Ports(ApiModel):
    """The range of ports from which a revision's replicas take theirs."""

    first: Annotated[int, Field(ge=1, le=65535)]
    count: Annotated[int, Field(ge=1, le=65535)]


class RevisionStatus(ApiModel):
    """One revision that runs or is kept."""

    name: RevisionName
    number: RevisionNumber
    role: RevisionRole
    uri: Uri
    version: Annotated[str, Field(max_length=63)] | None = None
    digest: DigestText | None = None
    cluster: Annotated[ClusterName, Field(description="The Ray cluster that it runs on.")] = names.DEFAULT_CLUSTER
    ports: Ports | None = None
    wanted_replicas: Count = 0
    ready_replicas: Count = 0
    message: Message | None = None


class Endpoints(ApiModel):
    """Where the model answers."""

    v1: Uri | None = Field(None, description="Base URL of the TensorFlow Serving REST API.")
    v2: Uri | None = Field(None, description="Base URL of the Open Inference Protocol REST API.")


class ModelStatus(ApiModel):
    """The model that takes the traffic now."""

    uri: Uri
    digest: DigestText | None = None
    version: Annotated[str, Field(max_length=63)] | None = None


class Quarantined(ApiModel):
    """A revision that failed and isn't tried again until the spec changes."""

    revision: RevisionName
    reason: Annotated[str, Field(max_length=128)]
    message: Message = ""
    time: Time


class Attempted(ApiModel):
    """How often a revision that serves was started anew after Ray had given it up."""

    revision: RevisionName
    number: Count
    time: Time


class ModelDeploymentStatus(ApiModel):
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
    phase: Phase | None = None
    stable_revision: RevisionName | None = None
    candidate_revision: RevisionName | None = None
    last_stable_revision: (
        Annotated[
            RevisionName,
            Field(description="The revision to go back to where none is stable and the wished one failed."),
        ]
        | None
    ) = None
    previous_stable_revision: (
        Annotated[RevisionName, Field(description="What was stable before: where a Rollback goes by itself.")] | None
    ) = None
    rollout: RolloutStatus | None = None
    rollback: RolledBack | None = None
    request: Request | None = None
    handled_request: HandledRequest | None = None
    revisions: Annotated[
        tuple[RevisionStatus, ...], Field(max_length=REVISIONS_MAX, json_schema_extra={LIST_MAP_KEYS: ["name"]})
    ] = ()
    replicas: Annotated[Count, Field(description="Replicas that exist, over all revisions.")] = 0
    ready_replicas: Annotated[Count, Field(description="Replicas that answer, over all revisions.")] = 0
    replicas_missing_since: (
        Annotated[Time, Field(description="Since when the stable revision has fewer ready replicas than it should.")]
        | None
    ) = None
    selector: Annotated[str, Field(max_length=512)] | None = None
    endpoints: Endpoints | None = None
    model: ModelStatus | None = None
    attempts: Annotated[
        tuple[Attempted, ...], Field(max_length=ATTEMPTS_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    quarantine: Annotated[
        tuple[Quarantined, ...], Field(max_length=QUARANTINE_MAX, json_schema_extra={LIST_MAP_KEYS: ["revision"]})
    ] = ()
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra={LIST_MAP_KEYS: ["type"]})] = ()

    def to_wire(self) -> dict[str, Any]:
        """The status as the API server stores it: camelCase, nothing that is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
