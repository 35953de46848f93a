"""What a person writes in ``spec``: typed, bounded, and the source from which the CRD is generated.

Defaults live here alone; nothing writes them back into the user's object. What the API server accepts, these models
accept. The cross-field rules stand on the class whose fields they compare; only the API server checks them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api import names, quantities
from fairlead_operator.api.analysis import Analysis
from fairlead_operator.api.fields import Cpu, Digest, Memory, Uri, Version
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.placement import ClusterChoice
from fairlead_operator.api.routing import Match, Shadow, Sticky
from fairlead_operator.api.rules import SERVER_DEFAULT, rule, rules
from fairlead_operator.api.scaling import Scaling
from fairlead_operator.api.steps import RolloutStep
from fairlead_operator.api.strategies import BlueGreen, OnInsufficientCapacity, RollbackWindow, RollingUpdate

REQUEST_TIMEOUT_S: Final = 30
PROGRESS_DEADLINE_S: Final = 600
ONGOING_REQUESTS_MAX: Final = 64
QUEUED_REQUESTS_MAX: Final = 256
STEPS_MAX: Final = 20
MATCHES_MAX: Final = 8


class ModelFormat(StrEnum):
    """The file format of a model."""

    SAVED_MODEL = "SavedModel"
    KERAS = "Keras"


class Strategy(StrEnum):
    """How a new revision takes over from the stable one."""

    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"
    BLUE_GREEN = "BlueGreen"
    CANARY = "Canary"
    SHADOW = "Shadow"


class Warmup(ApiModel):
    """The predictions that a replica runs before it is ready."""

    batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=rules(
                rule("self.all(x, self.exists_one(y, y == x))", "must name each batch size once, as in [1, 8, 32]")
            ),
        ),
    ] = (1,)
    """The number of rows of each warm-up prediction. Each size must appear once. A model that is not batched is called
    with one row. Default: [1].
    """


class ModelSource(ApiModel):
    """The model to serve. A change of any field creates a new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                """!has(self.format) || self.format != 'SavedModel'
                || !self.uri.lowerAscii().matches('[.]keras([?]|$)')""",
                "is SavedModel but spec.model.uri ends in .keras: set format: Keras, or leave it out",
                field=".format",
            ),
            rule(
                """!has(self.format) || self.format != 'Keras'
                || !self.uri.lowerAscii().matches('[.](pb|tar|tgz|tar[.]gz|zip)([?]|$)')""",
                "is Keras but spec.model.uri names another kind of file: Keras takes one .keras file",
                field=".format",
            ),
            rule(
                """!has(self.signature) || ((!has(self.format) || self.format != 'Keras')
                && !self.uri.lowerAscii().matches('[.]keras([?]|$)'))""",
                "is only allowed for a SavedModel, as a Keras file has no signatures: leave it out",
                field=".signature",
            ),
        )
    )

    uri: Uri
    """The location of the model: a `file:///`, `http://` or `https://` URI of a SavedModel folder, a `.keras` file, or
    an archive (`.tar`, `.tar.gz`, `.tgz`, `.zip`) of one of them. Credentials in the URI are refused.
    """
    format: ModelFormat | None = None
    """The format of the model: `SavedModel` or `Keras`. If unset, it is detected from the files."""
    digest: Digest | None = None
    """The expected digest of the content, as `sha256:` and 64 lower-case hex digits. A replica that reads other content
    does not serve. If unset, the digest that the first replica reads is pinned for the revision.
    """
    signature: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The signature of the SavedModel to call. If unset, `serving_default` is used, or the only signature if there is
    one. Not allowed for Keras files.
    """
    version: Version | None = None
    """A name for the model's version, for example `v2`. Requests can select the revision by it. It must not consist of
    digits alone, nor of 10 hex digits. It cannot keep its value while `uri` changes, unless `digest` stays the same.
    """
    warmup: Warmup = Warmup()
    """The predictions that a replica runs before it is ready."""


class Resources(ApiModel):
    """The compute resources that one replica requests from the Ray scheduler, as Kubernetes quantities."""

    cpu: Cpu = "500m"
    """The number of CPU cores of one replica, as a quantity such as `500m` or `2`. Default: 500m."""
    memory: Memory = "512Mi"
    """The memory of one replica in bytes, as a quantity such as `512Mi`. Default: 512Mi."""

    @property
    def cpu_cores(self) -> float:
        return float(quantities.parse(self.cpu))

    @property
    def memory_bytes(self) -> int:
        return int(quantities.parse(self.memory))


class BatchingMode(StrEnum):
    """Whether requests may share a call of the model."""

    AUTO = "Auto"
    OFF = "Off"


class Batching(ApiModel):
    """Whether requests may share a call of the model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.mode) || self.mode != 'Off' || (!has(self.maxRows) && !has(self.maxDelayMilliseconds))",
                "is Off, so that spec.serving.batching.maxRows and maxDelayMilliseconds do nothing: leave them out, or "
                "set mode: Auto",
                field=".mode",
            )
        )
    )

    mode: BatchingMode = BatchingMode.AUTO
    """`Auto`: requests share a call if the warm-up showed that the model answers each row independently of the others.
    `Off`: each request has a call of its own. Default: Auto.
    """
    max_rows: Annotated[int, Field(ge=1, le=1024)] = 64
    """The maximum number of rows of a call that several requests share. Default: 64."""
    max_delay_milliseconds: Annotated[
        int,
        Field(ge=0, le=500),
    ] = 0
    """The maximum time in milliseconds that a request waits for others to share its call. Default: 0."""


class Serving(ApiModel):
    """How each replica serves requests. A change of any field creates a new revision."""

    resources: Resources = Resources()
    """The compute resources of one replica."""
    batching: Batching = Batching()
    """Whether requests may share a call of the model."""
    max_ongoing_requests: Annotated[int, Field(ge=1, le=10000)] = ONGOING_REQUESTS_MAX
    """The maximum number of requests that a replica processes at the same time. Default: 64."""
    max_queued_requests: Annotated[int, Field(ge=0, le=100000)] = QUEUED_REQUESTS_MAX
    """The maximum number of requests that wait in a replica beyond `maxOngoingRequests`. Further requests get 503 with
    `Retry-After`. Default: 256.
    """
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = REQUEST_TIMEOUT_S
    """The maximum duration of a request in seconds. A longer request gets 504. Default: 30."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=16777216)] = 1048576
    """The maximum size of a request body in bytes. A larger body gets 413. Default: 1048576."""


class Rollout(ApiModel):
    """How a new revision takes over from the stable one. A change creates no new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.steps) || (has(self.strategy) && self.strategy == 'Canary')",
                "are only allowed for the strategy Canary: set spec.rollout.strategy: Canary, or leave the steps out",
                field=".steps",
            ),
            rule(
                "has(self.steps) || !has(self.strategy) || self.strategy != 'Canary'",
                "are required for the strategy Canary and must say what the Canary does, as in "
                "[{setWeight: 25}, {pause: {durationSeconds: 60}}]",
                field=".steps",
            ),
            rule(
                "!has(self.match) || (has(self.strategy) && self.strategy in ['Canary', 'BlueGreen', 'Shadow'])",
                "is only allowed if a candidate runs beside the stable revision: "
                "set spec.rollout.strategy: Canary, BlueGreen or Shadow, or leave the matches out",
                field=".match",
            ),
            rule(
                "!has(self.sticky) || (has(self.strategy) && self.strategy == 'Canary')",
                "is only allowed for the strategy Canary: set spec.rollout.strategy: Canary, or leave it out",
                field=".sticky",
            ),
            rule(
                "!has(self.shadow) || (has(self.strategy) && self.strategy == 'Shadow')",
                "is only allowed for the strategy Shadow: set spec.rollout.strategy: Shadow, or leave it out",
                field=".shadow",
            ),
            rule(
                "has(self.shadow) || !has(self.strategy) || self.strategy != 'Shadow'",
                "is required for the strategy Shadow, as in {percent: 10}",
                field=".shadow",
            ),
            rule(
                "!has(self.steps) || self.steps.map(s, has(s.setReplicas), s.setReplicas).isSorted()",
                "must not take replicas away: each setReplicas must be at least as high as the previous one",
                field=".steps",
            ),
            rule(
                "!has(self.allowSignatureChange) || !has(self.strategy) || self.strategy != 'Recreate'",
                "does nothing with Recreate, which stops the old revision before signatures are compared: leave it out",
                field=".allowSignatureChange",
            ),
            rule(
                "!has(self.analysis) || (has(self.strategy) && self.strategy in ['Canary', 'Shadow'])",
                "is only allowed if the candidate receives a part of the traffic: "
                "set spec.rollout.strategy: Canary or Shadow, or leave it out",
                field=".analysis",
            ),
            rule(
                "!has(self.steps) || has(self.analysis) || self.steps.all(step, !has(step.analysis))",
                "has a step analysis, but spec.rollout.analysis doesn't say what is measured: add it, as in "
                "{metrics: [{name: errors, errorRatio: {}}]}",
                field=".steps",
            ),
            rule(
                "!has(self.rollbackWindow) || !has(self.strategy) || self.strategy != 'Recreate'",
                "does nothing with Recreate, which stops the old revision first: leave it out",
                field=".rollbackWindow",
            ),
            rule(
                "!has(self.onInsufficientCapacity) || !has(self.strategy) || self.strategy != 'Recreate'",
                "does nothing with Recreate, which always stops the old revision first: leave it out",
                field=".onInsufficientCapacity",
            ),
            rule(
                "!has(self.rollingUpdate) || !has(self.strategy) || self.strategy == 'RollingUpdate'",
                "is only allowed for the strategy RollingUpdate: set spec.rollout.strategy: RollingUpdate, or leave it "
                "out",
                field=".rollingUpdate",
            ),
            rule(
                "!has(self.rollingUpdate) || !has(self.rollbackWindow)",
                "stops replicas of the old revision that a rollbackWindow would keep: leave one of them out",
                field=".rollingUpdate",
            ),
            rule(
                "!has(self.blueGreen) || (has(self.strategy) && self.strategy == 'BlueGreen')",
                "is only allowed for the strategy BlueGreen: set spec.rollout.strategy: BlueGreen, or leave it out",
                field=".blueGreen",
            ),
        )
    )

    strategy: Strategy = Strategy.ROLLING_UPDATE
    """The strategy of a rollout. `RollingUpdate`: the new revision takes all traffic once it is proved, or batch by
    batch with `rollingUpdate`. `Recreate`: the old revision stops first, and requests get 503 in between. `BlueGreen`:
    the new revision waits without traffic until it is promoted. `Canary`: traffic moves by `steps`. `Shadow`: the new
    revision waits without traffic and receives copies of requests. Default: RollingUpdate.
    """
    steps: Annotated[tuple[RolloutStep, ...], Field(min_length=1, max_length=STEPS_MAX)] | None = None
    """The steps of a Canary, executed in order. After the last step the candidate takes all traffic. Required for the
    strategy Canary, not allowed for others.
    """
    match: Annotated[tuple[Match, ...], Field(min_length=1, max_length=MATCHES_MAX)] | None = None
    """Requests that go to the candidate during the steps, whatever its weight is. A request has to meet one of the
    conditions. Allowed for the strategies Canary, BlueGreen and Shadow.
    """
    sticky: Sticky | None = None
    """Keeps the requests of one caller with one revision while the weight of a Canary does not change."""
    shadow: Shadow | None = None
    """How much of the traffic is copied to the candidate. Required for the strategy Shadow, not allowed for others."""
    rolling_update: RollingUpdate | None = None
    """The size of the batches of a RollingUpdate. If unset, all replicas of the new revision start beside all replicas
    of the old one. Not allowed together with `rollbackWindow`.
    """
    blue_green: BlueGreen | None = None
    """Options of the strategy BlueGreen."""
    rollback_window: RollbackWindow | None = None
    """How long the previous revision stays ready after a promotion. If unset, it is removed after the promotion. Not
    allowed for the strategy Recreate.
    """
    on_insufficient_capacity: OnInsufficientCapacity = OnInsufficientCapacity.WAIT
    """What happens if the Ray cluster is known to lack the capacity for the new replicas beside the old ones. `Wait`:
    the rollout does not start until there is capacity. `Recreate`: the old revision stops first, if that is known to
    free enough. Default: Wait.
    """
    progress_deadline_seconds: Annotated[
        int,
        Field(ge=10, le=86400),
    ] = PROGRESS_DEADLINE_S
    """The maximum time in seconds in which a candidate must become ready and be proved, and in which each change of
    replicas during a step must complete. A candidate that misses it is withdrawn and quarantined. Only time in which
    the candidate could make progress counts: not while the rollout is paused, nor while Ray or a gateway cannot be
    read. Must be greater than `spec.serving.requestTimeoutSeconds`. Default: 600.
    """
    analysis: Analysis | None = None
    """The metrics that the candidate has to meet while it receives traffic. A candidate that is proved worse than a
    limit is withdrawn. Allowed for the strategies Canary and Shadow.
    """
    paused: bool = False
    """Whether the rollout is paused. A paused rollout moves no traffic to the candidate and promotes nothing. A failed
    candidate is still withdrawn. Default: false.
    """
    allow_signature_change: bool = False
    """Whether a candidate may have inputs or outputs that break callers of the stable revision. If false, such a
    candidate is held before its first request. Not allowed for the strategy Recreate. Default: false.
    """


class ModelDeploymentSpec(ApiModel):
    """The desired state of a ModelDeployment."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"""(has(self.rollout) && has(self.rollout.progressDeadlineSeconds)
                ? self.rollout.progressDeadlineSeconds : {PROGRESS_DEADLINE_S})
                > (has(self.serving) && has(self.serving.requestTimeoutSeconds)
                ? self.serving.requestTimeoutSeconds : {REQUEST_TIMEOUT_S})""",
                f"({PROGRESS_DEADLINE_S} unless set) must be greater than spec.serving.requestTimeoutSeconds "
                f"({REQUEST_TIMEOUT_S} unless set), as a candidate has to answer a request within it",
                field=".rollout.progressDeadlineSeconds",
            ),
            rule(
                f"""!has(self.scaling.target) || self.scaling.target.ongoingRequests
                <= (has(self.serving) && has(self.serving.maxOngoingRequests)
                ? self.serving.maxOngoingRequests : {ONGOING_REQUESTS_MAX})
                + (has(self.serving) && has(self.serving.maxQueuedRequests)
                ? self.serving.maxQueuedRequests : {QUEUED_REQUESTS_MAX})""",
                f"must be at most spec.serving.maxOngoingRequests ({ONGOING_REQUESTS_MAX} unless set) plus "
                f"maxQueuedRequests ({QUEUED_REQUESTS_MAX} unless set): a replica never has more requests, so that no "
                "load would add a replica",
                field=".scaling.target.ongoingRequests",
            ),
        )
    )

    model: ModelSource
    """The model to serve. A change creates a new revision."""
    serving: Serving = Serving()
    """How each replica serves requests. A change creates a new revision."""
    # The only defaults that the API server sets: without them it answers 500 to a read of the scale subresource, and
    # so to `kubectl scale --current-replicas`, `kubectl autoscale` and an autoscaler.
    scaling: Annotated[Scaling, Field(json_schema_extra={SERVER_DEFAULT: {}})] = Scaling()
    """The number of replicas, fixed or scaled with the load. Only turning automatic scaling on or off creates a new
    revision.
    """
    rollout: Rollout = Rollout()
    """How a new revision takes over from the stable one. A change creates no new revision."""
    cluster: ClusterChoice = ClusterChoice()
    """The Ray cluster that the model runs on. A change creates a new revision."""
    revision_history_limit: Annotated[int, Field(ge=1, le=50)] = 10
    """The number of old revisions to keep for a rollback. Default: 10."""
    suspend: bool = False
    """Whether all replicas are stopped. Requests get 503; the object and its history stay. Default: false."""


OBJECT_RULES: Final = (
    rule(
        f"self.metadata.name.size() <= {names.MODEL_NAME_MAX}",
        f"metadata.name must be at most {names.MODEL_NAME_MAX} characters long, as other names are made from it",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be lower-case letters, digits and '-', begin with a letter and end with a letter or digit, "
        "as in digits-v2",
    ),
    rule(
        """self.spec.model.uri == oldSelf.spec.model.uri
        || !has(self.spec.model.version) || !has(oldSelf.status) || !has(oldSelf.status.model)
        || !has(oldSelf.status.model.version) || oldSelf.status.model.version != self.spec.model.version
        || oldSelf.status.model.uri == self.spec.model.uri
        || (has(self.spec.model.digest) && has(oldSelf.status.model.digest)
        && oldSelf.status.model.digest == self.spec.model.digest)""",
        "must change together with spec.model.uri: give another version, or the same spec.model.digest if only the "
        "place changed",
        field=".spec.model.version",
    ),
)
