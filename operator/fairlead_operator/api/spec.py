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
from fairlead_operator.api.fields import (
    CookieName,
    Cpu,
    Digest,
    HeaderName,
    MatchValue,
    Memory,
    Uri,
    Version,
)
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import SERVER_DEFAULT, rule, rules
from fairlead_operator.api.steps import RolloutStep
from fairlead_operator.api.strategies import BlueGreen, OnInsufficientCapacity, RollbackWindow, RollingUpdate

REQUEST_TIMEOUT_S: Final = 30
PROGRESS_DEADLINE_S: Final = 600
STEPS_MAX: Final = 20
MATCHES_MAX: Final = 8


class ModelFormat(StrEnum):
    SAVED_MODEL = "SavedModel"
    KERAS = "Keras"


class Strategy(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"
    BLUE_GREEN = "BlueGreen"
    CANARY = "Canary"
    SHADOW = "Shadow"


class Warmup(ApiModel):
    """Predictions run before a replica is ready."""

    batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        Field(
            min_length=1,
            max_length=8,
            description="Rows of each warm-up prediction; [1] unless set.",
            json_schema_extra=rules(
                rule("self.all(x, self.exists_one(y, y == x))", "must name each batch size once, as in [1, 8, 32]")
            ),
        ),
    ] = (1,)


class ModelSource(ApiModel):
    """Which model is served, and how its content is known."""

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
                "chooses among a SavedModel's signatures; a Keras model has none: leave it out",
                field=".signature",
            ),
        )
    )

    uri: Annotated[Uri, Field(description="Where the model is: file:///…, http://… or https://….")]
    format: ModelFormat | None = Field(None, description="Seen from the files unless set.")
    digest: Digest | None = Field(
        None, description="sha256:… of the file or folder; a replica that reads another won't serve."
    )
    signature: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="The SavedModel's signature to call; serving_default unless set."
    )
    version: Version | None = Field(None, description="The model's own name for its version; requests can ask for it.")
    warmup: Warmup = Warmup()


class Resources(ApiModel):
    """What one replica asks of Ray's scheduler, as Kubernetes quantities."""

    cpu: Annotated[Cpu, Field(description="Cores; 500m unless set.")] = "500m"
    memory: Annotated[Memory, Field(description="Bytes; 512Mi unless set.")] = "512Mi"

    @property
    def cpu_cores(self) -> float:
        return float(quantities.parse(self.cpu))

    @property
    def memory_bytes(self) -> int:
        return int(quantities.parse(self.memory))


class BatchingMode(StrEnum):
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

    mode: BatchingMode = Field(
        BatchingMode.AUTO,
        description="Auto (unless set): requests share a call where the warm-up has shown that the model answers each "
        "row by itself. Off: each request has a call of its own.",
    )
    max_rows: Annotated[
        int, Field(ge=1, le=1024, description="Rows of a call that several requests share; 64 unless set.")
    ] = 64
    max_delay_milliseconds: Annotated[
        int,
        Field(ge=0, le=500, description="How long a request waits at most for others to share its call; 0 unless set."),
    ] = 0


class Serving(ApiModel):
    """How one replica answers."""

    resources: Resources = Resources()
    batching: Batching = Batching()
    max_ongoing_requests: Annotated[
        int, Field(ge=1, le=10000, description="Requests worked on at once; 64 unless set.")
    ] = 64
    max_queued_requests: Annotated[
        int, Field(ge=0, le=100000, description="Requests that wait beyond those; 256 unless set.")
    ] = 256
    request_timeout_seconds: Annotated[
        int, Field(ge=1, le=3600, description=f"After this a request gets 504; {REQUEST_TIMEOUT_S} unless set.")
    ] = REQUEST_TIMEOUT_S
    max_request_bytes: Annotated[
        int, Field(ge=1024, le=16777216, description="A larger body gets 413; 1048576 unless set.")
    ] = 1048576


class Scaling(ApiModel):
    """How many replicas serve."""

    replicas: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="1 unless set; kubectl scale changes it.",
            json_schema_extra={SERVER_DEFAULT: 1},
        ),
    ] = 1


class Match(ApiModel):
    """Requests that the candidate answers whatever its weight."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.header) != has(self.cookie)",
                "must have exactly one of header and cookie, as in {header: x-group, value: beta}",
            )
        )
    )

    header: HeaderName | None = Field(None, description="The header's name; its case says nothing.")
    cookie: CookieName | None = Field(None, description="The cookie's name.")
    value: Annotated[MatchValue, Field(description="The whole value, character for character.")]


class Sticky(ApiModel):
    """What keeps a caller at one revision."""

    header: Annotated[HeaderName, Field(description="Requests with the same value get the same revision.")]


class Shadow(ApiModel):
    """What the candidate is shown without answering for it."""

    percent: Annotated[
        int, Field(ge=1, le=100, description="The share of the stable revision's predictions that it repeats.")
    ]


class Rollout(ApiModel):
    """How a new revision takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.steps) || (has(self.strategy) && self.strategy == 'Canary')",
                "are what a Canary does: set spec.rollout.strategy: Canary, or leave the steps out",
                field=".steps",
            ),
            rule(
                "has(self.steps) || !has(self.strategy) || self.strategy != 'Canary'",
                "must say what the Canary does, as in [{setWeight: 25}, {pause: {durationSeconds: 60}}]",
                field=".steps",
            ),
            rule(
                "!has(self.match) || (has(self.strategy) && self.strategy in ['Canary', 'BlueGreen', 'Shadow'])",
                "sends requests to a candidate that waits beside the stable revision: "
                "set spec.rollout.strategy: Canary, BlueGreen or Shadow, or leave the matches out",
                field=".match",
            ),
            rule(
                "!has(self.sticky) || (has(self.strategy) && self.strategy == 'Canary')",
                "keeps callers on their side of a Canary's share: set spec.rollout.strategy: Canary, or leave it out",
                field=".sticky",
            ),
            rule(
                "!has(self.shadow) || (has(self.strategy) && self.strategy == 'Shadow')",
                "is what a Shadow does: set spec.rollout.strategy: Shadow, or leave it out",
                field=".shadow",
            ),
            rule(
                "has(self.shadow) || !has(self.strategy) || self.strategy != 'Shadow'",
                "must say how much the candidate is shown, as in {percent: 10}",
                field=".shadow",
            ),
            rule(
                "!has(self.steps) || self.steps.map(s, has(s.setReplicas), s.setReplicas).isSorted()",
                "must not take replicas away: a setReplicas is at least as high as the one before it",
                field=".steps",
            ),
            rule(
                "!has(self.allowSignatureChange) || !has(self.strategy) || self.strategy != 'Recreate'",
                "does nothing with Recreate, which has stopped the old revision before there is anything to compare: "
                "leave it out",
                field=".allowSignatureChange",
            ),
            rule(
                "!has(self.analysis) || (has(self.strategy) && self.strategy in ['Canary', 'Shadow'])",
                "compares a candidate that is shown a part of the traffic: set spec.rollout.strategy: Canary or "
                "Shadow, or leave it out",
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
                "does nothing with Recreate, which has stopped the old revision before: leave it out",
                field=".rollbackWindow",
            ),
            rule(
                "!has(self.onInsufficientCapacity) || !has(self.strategy) || self.strategy != 'Recreate'",
                "does nothing with Recreate, which always stops the old revision first: leave it out",
                field=".onInsufficientCapacity",
            ),
            rule(
                "!has(self.rollingUpdate) || !has(self.strategy) || self.strategy == 'RollingUpdate'",
                "is how a RollingUpdate goes: set spec.rollout.strategy: RollingUpdate, or leave it out",
                field=".rollingUpdate",
            ),
            rule(
                "!has(self.rollingUpdate) || !has(self.rollbackWindow)",
                "takes replicas from the old revision, all of which a rollbackWindow keeps: leave one of them out",
                field=".rollingUpdate",
            ),
            rule(
                "!has(self.blueGreen) || (has(self.strategy) && self.strategy == 'BlueGreen')",
                "is what a BlueGreen rollout does: set spec.rollout.strategy: BlueGreen, or leave it out",
                field=".blueGreen",
            ),
        )
    )

    strategy: Strategy = Field(
        Strategy.ROLLING_UPDATE,
        description="RollingUpdate (unless set): the old revision serves until the new one is proved. "
        "Recreate: it ends first. BlueGreen: the new one waits without traffic until it is promoted. "
        "Canary: traffic moves by steps. Shadow: it waits likewise, and is shown a share of the requests.",
    )
    steps: Annotated[tuple[RolloutStep, ...], Field(min_length=1, max_length=STEPS_MAX)] | None = Field(
        None, description="What a Canary does one after the other; after the last the new revision takes everything."
    )
    match: Annotated[tuple[Match, ...], Field(min_length=1, max_length=MATCHES_MAX)] | None = Field(
        None, description="Requests that go to the candidate while it is compared; one match is enough."
    )
    sticky: Sticky | None = Field(None, description="Keeps a caller at one revision while a Canary's weight stays.")
    shadow: Shadow | None = Field(None, description="What a Shadow shows the candidate.")
    rolling_update: RollingUpdate | None = None
    blue_green: BlueGreen | None = None
    rollback_window: RollbackWindow | None = None
    on_insufficient_capacity: OnInsufficientCapacity = Field(
        OnInsufficientCapacity.WAIT,
        description="Where the new revision's replicas are known not to fit beside the old one's. Wait (unless set): "
        "the rollout begins once they do. Recreate: the old one ends first, where that is known to make enough room.",
    )
    progress_deadline_seconds: Annotated[
        int,
        Field(
            ge=10, le=86400, description=f"Without progress for this long it failed; {PROGRESS_DEADLINE_S} unless set."
        ),
    ] = PROGRESS_DEADLINE_S
    analysis: Analysis | None = Field(
        None, description="Measures the candidate while traffic moves, and takes it back once it is proved worse."
    )
    paused: bool = Field(False, description="Holds a rollout where it is; a way back is never held.")
    allow_signature_change: bool = Field(
        False,
        description="Lets a revision take traffic whose inputs or outputs don't keep to the stable one's contract; "
        "unless set it is held before its first request.",
    )


class ModelDeploymentSpec(ApiModel):
    """The model to serve, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"""(has(self.rollout) && has(self.rollout.progressDeadlineSeconds)
                ? self.rollout.progressDeadlineSeconds : {PROGRESS_DEADLINE_S})
                > (has(self.serving) && has(self.serving.requestTimeoutSeconds)
                ? self.serving.requestTimeoutSeconds : {REQUEST_TIMEOUT_S})""",
                f"({PROGRESS_DEADLINE_S} unless set) must be greater than spec.serving.requestTimeoutSeconds "
                f"({REQUEST_TIMEOUT_S} unless set): within it a candidate has to answer a request",
                field=".rollout.progressDeadlineSeconds",
            )
        )
    )

    model: ModelSource
    serving: Serving = Serving()
    # The only defaults that the API server sets: without them it answers 500 to a read of the scale subresource, and
    # so to `kubectl scale --current-replicas`, `kubectl autoscale` and an autoscaler.
    scaling: Annotated[Scaling, Field(json_schema_extra={SERVER_DEFAULT: {}})] = Scaling()
    rollout: Rollout = Rollout()
    revision_history_limit: Annotated[
        int, Field(ge=1, le=50, description="Earlier revisions kept to go back to; 10 unless set.")
    ] = 10
    suspend: bool = Field(False, description="Stops all replicas; the object and its history stay.")


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
        "is immutable for the content that serves now: with another spec.model.uri give another version, or the same "
        "spec.model.digest where only the place changed",
        field=".spec.model.version",
    ),
)
