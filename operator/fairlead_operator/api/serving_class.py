"""The kind ``ServingClass``: what a platform engineer decides about the pods that serve models. Cluster-scoped.

Everything but the bounds of ``workers``, the gateway and ``default`` is immutable in a running Ray cluster: a change of
it is another Ray cluster (docs/decisions/0035).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api import names
from fairlead_operator.api.fields import Cpu, Memory
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules, text
from fairlead_operator.api.status import Condition
from fairlead_operator.api.text import LIST_MAP_KEYS

WORKERS_MAX: Final = 1000
GATEWAYS_MAX: Final = 100
TOLERATIONS_MAX: Final = 16
LABELS_MAX: Final = 16
PULL_SECRETS_MAX: Final = 8

Image = Annotated[
    str,
    text(
        r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$",
        "must be an image's name, best with its digest, as in registry.example.org/ray-node@sha256:…",
        max_length=512,
    ),
]
ObjectName = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "must be the name of an object: lower-case letters, digits, '-' and '.', as in registry-credentials",
        max_length=253,
    ),
]
RayVersion = Annotated[
    str,
    text(
        r"^[0-9]{1,4}[.][0-9]{1,4}[.][0-9]{1,4}$",
        "must be a whole version of Ray, as in 2.60.0",
        rule(
            "!self.matches('^([01][.]|2[.]([0-9]|[1-4][0-9]|5[01])[.])')",
            "must be 2.52.0 or later, as older versions of Ray have no token authentication",
        ),
        max_length=14,
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
                "must name the key of a taint, or the operator must be Exists, which tolerates every taint",
                field=".key",
            ),
            rule(
                "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
                "must not be set with the operator Exists, which tolerates every value: choose Equal for this one",
                field=".value",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "needs the effect NoExecute, as no other taint makes a pod leave its node",
                field=".tolerationSeconds",
            ),
        )
    )

    key: Annotated[str, Field(max_length=317)] | None = None
    """The key of the taint. If unset, every key is tolerated, which needs the operator `Exists`."""
    operator: TolerationOperator | None = None
    """`Exists`: every value of the taint is tolerated. `Equal`: only `value` is. Default: Equal."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The value of the taint, for the operator `Equal`."""
    effect: TaintEffect | None = None
    """The effect of the taint. If unset, every effect is tolerated."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = None
    """How many seconds a pod stays on a node that gets a taint with the effect `NoExecute`. If unset, it stays."""


def _at_least(field: str, least: str, message: str) -> dict[str, Any]:
    """A rule for a field that is a number or a quantity; what is neither is left to the field's own rule."""
    quantity = f"string(self.{field})"
    return rule(
        f"!isQuantity({quantity}) || quantity({quantity}).compareTo(quantity('{least}')) >= 0",
        message,
        field=f".{field}",
    )


class RayPods(ApiModel):
    """The size of the pods of one kind, and the nodes that they may run on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _at_least("cpu", "100m", "must be at least 100m, or Ray's processes get no time while the node is busy"),
            _at_least("memory", "512Mi", "must be at least 512Mi, or Ray's own processes don't fit"),
        )
    )

    cpu: Cpu
    """The CPU request of the Ray container, at least `100m`, as a quantity such as `500m` or `2`. Ray offers replicas
    that many cores, rounded up to a whole number. There is no CPU limit.
    """
    memory: Memory
    """The memory request and limit of the Ray container, at least `512Mi`, as a quantity such as `4Gi`."""
    node_selector: Annotated[
        dict[str, Annotated[str, Field(max_length=63, description="The value of the label.")]],
        Field(
            max_length=LABELS_MAX,
            json_schema_extra=rules(
                rule("self.all(key, key.size() <= 317)", "must have label keys of at most 317 characters")
            ),
        ),
    ] = Field(default_factory=dict)
    """The labels that a node must have to run the pods."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=TOLERATIONS_MAX)] = ()
    """The taints that the pods tolerate."""
    priority_class_name: ObjectName | None = None
    """The name of the PriorityClass of the pods."""


class Workers(ApiModel):
    """The bounds of the number of worker pods of one Ray cluster. A change creates no new Ray cluster."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.min <= self.max", "must not be greater than spec.workers.max", field=".min"),
        )
    )

    min: Annotated[int, Field(ge=1, le=WORKERS_MAX)]
    """The number of worker pods that a Ray cluster starts with, and never has fewer than."""
    max: Annotated[int, Field(ge=1, le=WORKERS_MAX)]
    """The maximum number of worker pods, also for an autoscaler that scales the RayCluster's worker group."""


class ServiceType(StrEnum):
    """The type of a Service."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class GatewayResources(ApiModel):
    """The compute resources of one gateway pod."""

    cpu: Cpu = "250m"
    """The CPU request of the container, as a quantity. There is no CPU limit. Default: 250m."""
    memory: Memory = "512Mi"
    """The memory request and limit of the container, as a quantity. Default: 512Mi."""


class Gateway(ApiModel):
    """The gateway of a namespace: the pods that send each request to a revision of its model."""

    image: Image
    """The image of the gateway, best with its digest."""
    replicas: Annotated[int, Field(ge=1, le=GATEWAYS_MAX)] = 2
    """The number of gateway pods. With 1, requests fail while the pod is replaced. Default: 2."""
    service_type: ServiceType = ServiceType.CLUSTER_IP
    """The type of the Service `fairlead-gateway`, which clients call: `ClusterIP`, `NodePort` or `LoadBalancer`.
    Default: ClusterIP.
    """
    resources: GatewayResources = GatewayResources()
    """The compute resources of one gateway pod."""


class ServingClassSpec(ApiModel):
    """What the Ray clusters and gateways of a class are made of."""

    default: bool = False
    """Whether ModelDeployments without `spec.cluster.class` use this class. Exactly one class should be the default;
    of several, the oldest is used. Default: false.
    """
    image: Image
    """The image of the Ray nodes, best with its digest. A change creates a new Ray cluster, and every model of the
    class moves to it by a rollout.
    """
    ray_version: RayVersion
    """The version of Ray in the image. A change creates a new Ray cluster."""
    head: RayPods
    """The head pod of a Ray cluster, which runs no replicas. A change creates a new Ray cluster."""
    worker: RayPods
    """The worker pods of a Ray cluster, which run the replicas. A change creates a new Ray cluster."""
    workers: Workers
    """The bounds of the number of worker pods. A change creates no new Ray cluster."""
    gateway: Gateway
    """The gateway of a namespace. The default class's is used where a namespace uses several classes. A change creates
    no new Ray cluster; the gateway pods are replaced one by one.
    """
    image_pull_secrets: Annotated[tuple[ObjectName, ...], Field(max_length=PULL_SECRETS_MAX)] = ()
    """The names of the Secrets with which the images are pulled. They must exist in each namespace that uses the class.
    A change creates a new Ray cluster.
    """


class ServingClassStatus(ApiModel):
    """What was observed of the class."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=8, json_schema_extra={LIST_MAP_KEYS: ["type"]}),
    ] = ()
    """The conditions of the class. `Ready`: namespaces that use the class get their Ray cluster and gateway."""


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
