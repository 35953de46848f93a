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
from fairlead_operator.api.evaluation import RequireEvaluation
from fairlead_operator.api.fields import Cpu, Memory
from fairlead_operator.api.guards import Guards
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.model_source import ModelSource
from fairlead_operator.api.monitoring import Monitoring
from fairlead_operator.api.optimization import SPEC_RULES, Optimization
from fairlead_operator.api.placement import ClusterChoice
from fairlead_operator.api.routing import Match, Shadow, Sticky
from fairlead_operator.api.rules import SERVER_DEFAULT, rule, rules
from fairlead_operator.api.scaling import Scaling
from fairlead_operator.api.steps import RolloutStep
from fairlead_operator.api.strategies import BlueGreen, OnInsufficientCapacity, RollbackWindow, RollingUpdate
from fairlead_operator.api.text import Time

REQUEST_TIMEOUT_S: Final = 30
PROGRESS_DEADLINE_S: Final = 600
ONGOING_REQUESTS_MAX: Final = 64
QUEUED_REQUESTS_MAX: Final = 256
STEPS_MAX: Final = 20
MATCHES_MAX: Final = 8


class Strategy(StrEnum):
    """How a new revision replaces the stable one."""

    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"
    BLUE_GREEN = "BlueGreen"
    CANARY = "Canary"
    SHADOW = "Shadow"


class Resources(ApiModel):
    """The CPU and memory that Ray reserves for each replica."""

    cpu: Cpu = "500m"
    """The number of CPU cores that Ray reserves for each replica, such as `500m` or `2`. It also sets the number of
    threads that call the model: the whole cores, at least 1. It is not a limit. Default: 500m.
    """
    memory: Memory = "512Mi"
    """The memory that Ray reserves on a worker for each replica, such as `512Mi`. It is not a limit: a replica that
    uses more can exhaust the memory of the worker pod. Default: 512Mi.
    """

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
    """The maximum number of rows of a call that requests share. Default: 64."""
    max_delay_milliseconds: Annotated[
        int,
        Field(ge=0, le=500),
    ] = 0
    """The maximum number of milliseconds that a request waits for others to share its call. Default: 0."""


class Engine(StrEnum):
    """The engine that calls the model."""

    AUTO = "Auto"
    TENSORFLOW = "TensorFlow"
    ONNX_RUNTIME = "ONNXRuntime"


class Serving(ApiModel):
    """How each replica serves requests. A change of any field creates a new revision."""

    resources: Resources = Resources()
    """The CPU and memory that Ray reserves for each replica."""
    engine: Engine = Engine.TENSORFLOW
    """The library that calls the model. `TensorFlow`: always TensorFlow. `ONNXRuntime`: each node converts the model
    once and uses ONNX Runtime if it gives the same answers as TensorFlow to trial inputs, otherwise TensorFlow.
    `Auto`: as `ONNXRuntime`, but only if ONNX Runtime is also measured to be faster on the node. The metric
    `fairlead_replica_engine` shows which library is used, and why. Default: TensorFlow.
    """
    batching: Batching = Batching()
    """Whether requests may share a call of the model."""
    guards: Guards = Guards()
    """What is looked for in the inputs and answers of predictions, and what becomes of a request that has it."""
    max_ongoing_requests: Annotated[int, Field(ge=1, le=10000)] = ONGOING_REQUESTS_MAX
    """The maximum number of requests that a replica processes at the same time. Default: 64."""
    max_queued_requests: Annotated[int, Field(ge=0, le=100000)] = QUEUED_REQUESTS_MAX
    """The maximum number of requests that wait in a replica in addition to the `maxOngoingRequests` that it processes.
    Further requests get 503 with `Retry-After`. Default: 256.
    """
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = REQUEST_TIMEOUT_S
    """The maximum duration of a request in seconds. A request that takes longer gets 504. Default: 30."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=16777216)] = 1048576
    """The maximum size of a request body in bytes. A larger body gets 413. Default: 1048576."""
    restarted_at: Time | None = None
    """A change of this time creates a new revision of the same model and settings, so a rollout starts all replicas
    again. The time itself has no effect. `kubectl fairlead restart NAME` sets it to the current time.
    """


class Rollout(ApiModel):
    """How a new revision replaces the stable one. A change creates no new revision."""

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
                "must not remove replicas: each setReplicas must be at least as high as the previous one",
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
                "!has(self.analysis) || !has(self.strategy) || self.strategy != 'Canary' "
                "|| !self.analysis.metrics.exists(metric, has(metric.disagreement))",
                "must not use the metric disagreement with the strategy Canary, which copies no requests: set "
                "spec.rollout.strategy: Shadow, or remove the metric",
                field=".analysis.metrics",
            ),
            # After the promotion these metrics can be decided, within the window.
            rule(
                "!has(self.analysis) || !has(self.strategy) || self.strategy != 'Shadow' || has(self.match) "
                "|| has(self.rollbackWindow) || !self.analysis.metrics.exists(metric, has(metric.errorRatio) "
                "|| has(metric.latency) || has(metric.accuracy))",
                "must not use the metrics errorRatio, latency and accuracy with the strategy Shadow, which sends no "
                "clients to the candidate: use disagreement, drift or prometheus, or select clients with "
                "spec.rollout.match",
                field=".analysis.metrics",
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
                "must not be set together with rollbackWindow, which keeps the replicas that it stops: leave one of "
                "them out",
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
    """The strategy of a rollout. `RollingUpdate`: the new revision gets all traffic after it passed a test prediction,
    or batch by batch with `rollingUpdate`. `Recreate`: the old revision stops first; meanwhile requests get 503.
    `BlueGreen`: the new revision waits without traffic until it is promoted. `Canary`: traffic moves by `steps`.
    `Shadow`: the new revision waits without traffic and receives copies of requests. If `analysis` succeeds, it is
    promoted automatically. Default: RollingUpdate.
    """
    steps: Annotated[tuple[RolloutStep, ...], Field(min_length=1, max_length=STEPS_MAX)] | None = None
    """The steps of a Canary, executed in order. After the last step, the candidate (the new revision) gets all traffic.
    Required for the strategy Canary, not allowed for others.
    """
    match: Annotated[tuple[Match, ...], Field(min_length=1, max_length=MATCHES_MAX)] | None = None
    """Requests that go to the candidate (the new revision) before it is promoted, whatever its weight is. A request
    must meet one of the conditions. Allowed for the strategies Canary, BlueGreen and Shadow.
    """
    sticky: Sticky | None = None
    """Sends all requests of a client to the same revision while the weight does not change. Only allowed for the
    strategy Canary.
    """
    shadow: Shadow | None = None
    """How many requests are copied to the candidate (the new revision). Required for the strategy Shadow, not allowed
    for others.
    """
    rolling_update: RollingUpdate | None = None
    """The size of the batches of a RollingUpdate. If unset, all replicas of the new revision run before the first
    replica of the old one is removed. Not allowed together with `rollbackWindow`.
    """
    blue_green: BlueGreen | None = None
    """Options of the strategy BlueGreen. Not allowed for others."""
    rollback_window: RollbackWindow | None = None
    """Keeps the previous revision running after a promotion and returns all traffic to it if the new revision fails. If
    unset, there is no automatic rollback. Not allowed for the strategy Recreate.
    """
    on_insufficient_capacity: OnInsufficientCapacity = OnInsufficientCapacity.WAIT
    """What happens if the Ray cluster lacks the capacity to run the new replicas in addition to the old ones. `Wait`:
    the rollout does not start until there is capacity. `Recreate`: the old revision stops first if that frees enough;
    meanwhile requests get 503. Not allowed for the strategy Recreate. Default: Wait.
    """
    progress_deadline_seconds: Annotated[
        int,
        Field(ge=10, le=86400),
    ] = PROGRESS_DEADLINE_S
    """The maximum time in seconds for a candidate (the new revision) to become ready and pass its test prediction, and
    for each change of replicas in a step. After that, the candidate is removed and not retried. Time does not count
    while the rollout is paused or while Ray or a gateway cannot be read. Must be greater than
    `spec.serving.requestTimeoutSeconds`. Default: 600.
    """
    analysis: Analysis | None = None
    """The metrics that the candidate (the new revision) must meet while it receives requests or copies of them. A
    candidate that fails a metric is removed. Allowed for the strategies Canary and Shadow.
    """
    paused: bool = False
    """Whether the rollout is paused. While it is, no more traffic moves to the candidate (the new revision) and it is
    not promoted. A candidate that fails is still removed. Default: false.
    """
    allow_signature_change: bool = False
    """Whether a new revision may change the inputs or outputs of the model in a way that breaks its clients. If false,
    the rollout of such a revision waits before its first request. Not allowed for the strategy Recreate. Default:
    false.
    """
    require_evaluation: RequireEvaluation | None = None
    """What the evaluation record of a candidate (the new revision) must show, which is the file `evaluation.json`
    beside the model. A candidate without a record of this model, or below `min`, is removed before its first request. A
    revision that was stable before is not checked. If unset, no record is needed.
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
                "must be greater than spec.serving.requestTimeoutSeconds (defaults: "
                f"{PROGRESS_DEADLINE_S} and {REQUEST_TIMEOUT_S})",
                field=".rollout.progressDeadlineSeconds",
            ),
            rule(
                f"""!has(self.scaling.target) || self.scaling.target.ongoingRequests
                <= (has(self.serving) && has(self.serving.maxOngoingRequests)
                ? self.serving.maxOngoingRequests : {ONGOING_REQUESTS_MAX})
                + (has(self.serving) && has(self.serving.maxQueuedRequests)
                ? self.serving.maxQueuedRequests : {QUEUED_REQUESTS_MAX})""",
                f"must be at most spec.serving.maxOngoingRequests (default {ONGOING_REQUESTS_MAX}) plus "
                f"maxQueuedRequests (default {QUEUED_REQUESTS_MAX}): a replica never holds more requests, so scaling "
                "up would never start",
                field=".scaling.target.ongoingRequests",
            ),
            *SPEC_RULES,
        )
    )

    model: ModelSource
    """The model to serve. A change creates a new revision, which a rollout brings into service."""
    serving: Serving = Serving()
    """How each replica serves requests. A change creates a new revision."""
    optimization: Optimization | None = None
    """Smaller or faster variants of the model. Each node serves the best one that keeps the accuracy. Needs
    `spec.serving.engine: ONNXRuntime` or `Auto`, and labelled samples beside the model (`fairlead package --samples`).
    With `parallelism`, the model is cut into stages instead. If unset, neither is done. A change creates a new
    revision.
    """
    # The only defaults that the API server sets: without them it answers 500 to a read of the scale subresource, and
    # so to `kubectl scale --current-replicas`, `kubectl autoscale` and an autoscaler.
    scaling: Annotated[Scaling, Field(json_schema_extra={SERVER_DEFAULT: {}})] = Scaling()
    """The number of replicas: fixed by `replicas`, or automatic between `minReplicas` and `maxReplicas`. A change
    creates no new revision, except for turning automatic scaling on or off.
    """
    rollout: Rollout = Rollout()
    """How a new revision replaces the stable one. A change creates no new revision."""
    cluster: ClusterChoice = ClusterChoice()
    """The Ray cluster that the model runs on. A change creates a new revision."""
    monitoring: Monitoring = Monitoring()
    """What is watched of the served model, and what is sent of its requests. A change creates no new revision."""
    revision_history_limit: Annotated[int, Field(ge=1, le=50)] = 10
    """The number of old revisions that are kept, so that a rollback can return to them. Default: 10."""
    suspend: bool = False
    """Whether all replicas are stopped. While they are, requests get 503. The object and its revisions are kept.
    Default: false.
    """


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
        "must change when spec.model.uri changes: set a new version or, if the content is the same, set "
        "spec.model.digest to the value of status.model.digest",
        field=".spec.model.version",
    ),
)
