"""The kind ``ServingClass``: what a platform engineer decides about the pods that serve models. Cluster-scoped.

Everything but the bounds of ``workers``, the gateway and ``default`` is immutable in a running Ray cluster: a change of
it is another Ray cluster (docs/decisions/0035).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api import names
from fairlead_operator.api.fields import (
    Cpu,
    Memory,
    PriorityClassName,
    PullSecretName,
    RedisSecretName,
)
from fairlead_operator.api.gateway import Gateway, image
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.payload_sinks import PayloadSinks
from fairlead_operator.api.rules import at_least, rule, rules, text
from fairlead_operator.api.sources import Sources
from fairlead_operator.api.status import Condition
from fairlead_operator.api.text import LIST_MAP_KEYS
from fairlead_operator.api.tracing import Tracing

WORKERS_MAX: Final = 1000
IDLE_DEFAULT_S: Final = 300
IDLE_MAX_S: Final = 86400
TOLERATIONS_MAX: Final = 16
LABELS_MAX: Final = 16
PULL_SECRETS_MAX: Final = 8


RayNodeImage = Annotated[str, image("ray-node")]
RayVersion = Annotated[
    str,
    text(
        r"^[0-9]{1,4}[.][0-9]{1,4}[.][0-9]{1,4}$",
        "must be a complete version of Ray, as in 2.60.0",
        rule(
            "!self.matches('^([01][.]|2[.]([0-9]|[1-4][0-9]|5[01])[.])')",
            "must be 2.52.0 or later, as older versions of Ray have no token authentication",
        ),
        max_length=14,
    ),
]

RedisAddress = Annotated[
    str,
    text(
        r"^(rediss?://)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|"
        r"65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
        "must be HOST:PORT, redis://HOST:PORT or rediss://HOST:PORT (TLS), as in redis.databases.svc:6379, without a "
        "user or password",
        max_length=300,
    ),
]
SecretKey = Annotated[
    str,
    text(
        r"^[-A-Za-z0-9._]+$",
        "must be a key of a Secret: letters, digits, '-', '_' and '.', as in password",
        max_length=253,
    ),
]


class TolerationOperator(StrEnum):
    """How a toleration compares a taint's value."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """The effect of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the pods tolerate, as in a pod's `spec.tolerations`."""

    # Source: Kubernetes, `pkg/apis/core/validation/validation.go` (ValidateTolerations)
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "must be set, unless operator is Exists",
                field=".key",
            ),
            rule(
                "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
                "must not be set if operator is Exists, which tolerates every value: set operator: Equal, or remove it",
                field=".value",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "requires effect: NoExecute, because only such a taint removes running pods from a node",
                field=".tolerationSeconds",
            ),
        )
    )

    key: Annotated[str, Field(max_length=317)] | None = None
    """The key of the taint. If unset, taints with any key are tolerated, and `operator` must be `Exists`."""
    operator: TolerationOperator | None = None
    """How the value of the taint is compared. `Exists`: any value is tolerated. `Equal`: only `value` is tolerated.
    Default: Equal.
    """
    value: Annotated[str, Field(max_length=63)] | None = None
    """The value of the taint. Not allowed for the operator `Exists`."""
    effect: TaintEffect | None = None
    """The effect of the taint: NoSchedule, PreferNoSchedule or NoExecute. If unset, any effect is tolerated."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = None
    """The number of seconds that a pod stays on a node after the node got the taint. Only allowed for the effect
    `NoExecute`. If unset, the pod stays.
    """


class RayPods(ApiModel):
    """The resources of the worker pods, and the nodes that they may run on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            at_least("cpu", "100m", "must be at least 100m: Ray's own processes need it"),
            at_least("memory", "512Mi", "must be at least 512Mi: Ray's own processes need it"),
        )
    )

    cpu: Cpu
    """The CPU request of the Ray container of each worker pod, at least `100m`, such as `500m` or `2`. There is no CPU
    limit. This many cores, rounded up to a whole number, can be reserved by the replicas on the pod.
    """
    memory: Memory
    """The memory request and limit of the Ray container of the pod, at least `512Mi`, such as `4Gi`."""
    node_selector: Annotated[
        dict[str, Annotated[str, Field(max_length=63, description="The value of the label.")]],
        Field(
            max_length=LABELS_MAX,
            json_schema_extra=rules(
                rule("self.all(key, key.size() <= 317)", "must have label keys of at most 317 characters")
            ),
        ),
    ] = Field(default_factory=dict)
    """The labels that a node must have so that the pods may run on it."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=TOLERATIONS_MAX)] = ()
    """The taints that the pods tolerate."""
    priority_class_name: PriorityClassName | None = None
    """The name of the PriorityClass of the pods."""


class RayHead(RayPods):
    """The resources of the head pod, and the nodes that it may run on."""

    cpu: Cpu
    """The CPU request of the Ray container of the head pod, at least `100m`, such as `500m` or `2`. There is no CPU
    limit. No replicas run on the head.
    """


class Workers(ApiModel):
    """The number of worker pods of each Ray cluster: fixed if `min` and `max` are equal, otherwise automatic."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.min <= self.max", "must not be greater than spec.workers.max", field=".min"),
            rule(
                "!has(self.idleSeconds) || self.min < self.max",
                "must not be set if spec.workers.min and spec.workers.max are equal, because no worker is removed then",
                field=".idleSeconds",
            ),
        )
    )

    min: Annotated[int, Field(ge=1, le=WORKERS_MAX)]
    """The minimum number of worker pods, with which each Ray cluster starts. Changing between a fixed number
    (`min` = `max`) and a range creates a new Ray cluster; other changes do not.
    """
    max: Annotated[int, Field(ge=1, le=WORKERS_MAX)]
    """The maximum number of worker pods. If it is greater than `min`, Ray's autoscaler adds workers for replicas that
    have no room, and removes workers without replicas.
    """
    idle_seconds: Annotated[int, Field(ge=1, le=IDLE_MAX_S)] | None = None
    """The number of seconds without a replica after which a worker is removed. Only allowed if `max` is greater than
    `min`. Default: 300.
    """


class RedisPassword(ApiModel):
    """A key of a Secret in the namespace of the Ray cluster."""

    name: RedisSecretName
    """The name of the Secret. It must exist in each namespace that uses the class."""
    key: SecretKey = "password"
    """The key of the Secret that holds the password. Default: password."""


class GcsFaultTolerance(ApiModel):
    """A Redis in which the head of each Ray cluster stores its state, so that workers continue while it restarts."""

    redis_address: RedisAddress
    """The address of the Redis: `HOST:PORT`, `redis://HOST:PORT`, or `rediss://HOST:PORT` for TLS. The pods of every
    namespace that uses the class must reach it. Several Ray clusters can share one Redis.
    """
    redis_password: RedisPassword | None = None
    """The Secret with the password of the Redis. If unset, no password is sent."""


class ServingClassSpec(ApiModel):
    """The desired configuration of the Ray clusters and gateways."""

    default: bool = False
    """Whether ModelDeployments without `spec.cluster.class` use this class. Only one class should be the default; if
    there are several, the oldest is used. Default: false.
    """
    image: RayNodeImage
    """The image of the head pod and the worker pods, preferably with a digest. After a change, a new Ray cluster is
    created, and rollouts move all models of the class to it.
    """
    ray_version: RayVersion
    """The version of Ray in the image, such as `2.60.0`. A change creates a new Ray cluster."""
    head: RayHead
    """The head pod of each Ray cluster. It runs no replicas. A change creates a new Ray cluster."""
    worker: RayPods
    """The worker pods of each Ray cluster. They run the replicas. A change creates a new Ray cluster."""
    workers: Workers
    """The number of worker pods of each Ray cluster: fixed if `min` and `max` are equal, otherwise automatic. Changing
    between the two creates a new Ray cluster; other changes do not.
    """
    gateway: Gateway
    """The gateway of each namespace with models. The gateway settings of the default class apply to all namespaces,
    whichever classes their models use. If no class is the default, those of the first class by name that the models of
    the namespace use apply. A change creates no new Ray cluster; the gateway pods are replaced one by one.
    """
    gcs_fault_tolerance: GcsFaultTolerance | None = None
    """A Redis in which the head of each Ray cluster stores its state, so that workers continue while it restarts. If
    unset and the head fails, its workers end too, and requests fail until the replicas have started again. A change
    creates a new Ray cluster.
    """
    sources: Sources = Sources()
    """Where models may be read from, with which credentials, and which operations they may contain. A change creates a
    new Ray cluster.
    """
    tracing: Tracing | None = None
    """The OpenTelemetry collector that gateways and replicas send spans to. If unset, there are no spans. A change
    creates a new Ray cluster; the gateway pods are replaced one by one.
    """
    payload_sinks: PayloadSinks | None = None
    """Where events of the payload log (`spec.monitoring.payloads` of a ModelDeployment) may be sent. If unset, none are
    sent. A change creates a new Ray cluster.
    """
    image_pull_secrets: Annotated[tuple[PullSecretName, ...], Field(max_length=PULL_SECRETS_MAX)] = ()
    """The names of the Secrets for pulling the images. They must exist in each namespace that uses the class. A change
    creates a new Ray cluster.
    """


class ServingClassStatus(ApiModel):
    """The observed state of a ServingClass."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` that the operator processed last."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=8, json_schema_extra={LIST_MAP_KEYS: ["type"]}),
    ] = ()
    """The conditions of the class. If `Ready` is True, the namespaces that use the class get their Ray clusters and
    gateways.
    """


OBJECT_RULES: Final = (
    rule(
        f"self.metadata.name.size() <= {names.CLASS_NAME_MAX}",
        f"metadata.name must be at most {names.CLASS_NAME_MAX} characters long, as the names of Ray clusters are made "
        "from it",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be lower-case letters, digits and '-', begin with a letter and end with a letter or digit, "
        "as in cpu-small",
    ),
)
