"""The objects that the operator makes in a namespace so that models can be served there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from fairlead_operator.api import names
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason


@dataclass(frozen=True, slots=True, order=True)
class ObjectKind:
    """A kind of Kubernetes objects; ``plural`` is what it is called in URLs."""

    api_version: str
    kind: str
    plural: str


SECRET = ObjectKind("v1", "Secret", "secrets")
SERVICE = ObjectKind("v1", "Service", "services")
SERVICE_ACCOUNT = ObjectKind("v1", "ServiceAccount", "serviceaccounts")
DEPLOYMENT = ObjectKind("apps/v1", "Deployment", "deployments")
ROLE = ObjectKind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = ObjectKind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
DISRUPTION_BUDGET = ObjectKind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = ObjectKind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
RAY_CLUSTER = ObjectKind("ray.io/v1", "RayCluster", "rayclusters")


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """One object of a namespace."""

    kind: ObjectKind
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.kind.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedObject:
    """An object as it should be; ``body`` holds ``digest`` as an annotation. A Secret's content isn't part of it."""

    key: ObjectKey
    body: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBounds:
    """What of a RayCluster's worker group is changed in place, and nothing else of it.

    ``idle_s`` is how long a worker is without replicas before it is removed; None where their number is fixed.
    """

    least: int
    most: int
    idle_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCluster:
    """A RayCluster as it is created; of one that exists only the bounds are compared."""

    name: str
    body: Mapping[str, Any]
    bounds: WorkerBounds

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(RAY_CLUSTER, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeObject:
    """An object that is there, under a name of ours. ``digest`` is what was applied last.

    ``bounds`` and ``workers`` are a RayCluster's: the bounds of its workers, and how many it is to have now.

    One that is not ``is_ours`` lacks our labels: it is never changed. One that ``is_copy`` has them, but under a name
    that the operator doesn't give: somebody copied an object of ours, and it is never deleted.
    """

    uid: str
    is_ours: bool
    is_copy: bool = False
    is_deleting: bool = False
    digest: str | None = None
    bounds: WorkerBounds | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a namespace can't have what its models need; ``message`` is a whole sentence for people."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredNamespace:
    """What a namespace should have. ``problems`` are those of single models, by name.

    ``made_once`` are objects that are made where they are missing, and else left as they are: once all models are known
    they may have to be others. Without models nothing is desired. Where there are some and none of them has a class,
    what is there stays as it is.
    """

    has_models: bool
    clusters: tuple[WantedCluster, ...] = ()
    objects: tuple[WantedObject, ...] = ()
    problems: Mapping[str, Problem] = field(default_factory=dict)
    made_once: frozenset[ObjectKey] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedNamespace:
    """What a namespace has.

    ``unknown`` are the kinds that can't be listed, each with the reason. ``used_clusters`` are those that a revision of
    a model records. ``is_complete`` says that all models of the namespace are known, and could be read.
    """

    objects: Mapping[ObjectKey, MadeObject]
    unknown: Mapping[ObjectKind, Exception]
    used_clusters: Known[frozenset[str]] | Unknown
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyObject:
    """``is_new``: there was none, so one that is found belongs to somebody else."""

    key: ObjectKey
    body: Mapping[str, Any]
    is_new: bool

    @override
    def __str__(self) -> str:
        return f"apply {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeToken:
    """Make the Secret with a new token."""

    key: ObjectKey = ObjectKey(SECRET, names.TOKEN_SECRET)

    @override
    def __str__(self) -> str:
        return f"create {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBounds:
    """Change the bounds of a RayCluster's workers, and nothing else of it."""

    key: ObjectKey
    bounds: WorkerBounds

    @override
    def __str__(self) -> str:
        idle = "" if self.bounds.idle_s is None else f", removed after {self.bounds.idle_s} s without replicas,"
        return f"set {self.bounds.least} to {self.bounds.most} workers{idle} for {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteObject:
    """Delete exactly this object."""

    key: ObjectKey
    uid: str

    @override
    def __str__(self) -> str:
        return f"delete {self.key}"


NamespaceWrite = ApplyObject | MakeToken | SetBounds | DeleteObject


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespacePlan:
    """The writes of a pass in their order. ``problem`` is what keeps every model of the namespace waiting."""

    writes: tuple[NamespaceWrite, ...] = ()
    problem: Problem | None = None


WORKER_GROUP = "workers"
"""The name of the one worker group of a RayCluster."""


def is_ours(body: Mapping[str, Any]) -> bool:
    """Whether an object has the labels of those that the operator made."""
    labels = body["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in product_labels().items())


NO_RAYCLUSTER_CRD = "The RayCluster CRD is not installed."


def describe_foreign(key: ObjectKey) -> str:
    """What is said of an object that has the name of one of ours."""
    return f"{key} already exists and was not created by Fairlead."


_FIXED_NAMES: Mapping[ObjectKind, frozenset[str]] = {
    SECRET: frozenset({names.TOKEN_SECRET}),
    SERVICE: frozenset({names.GATEWAY, names.GATEWAY_MEMBERS}),
    NETWORK_POLICY: frozenset({names.GATEWAY, names.RAY_POLICY}),
    RAY_CLUSTER: frozenset(),
}
_GATEWAY_ONLY = frozenset({names.GATEWAY})
_SUFFIXES: Mapping[ObjectKind, str] = {
    SERVICE: names.RAY_NODES_SUFFIX,
    DISRUPTION_BUDGET: names.RAY_BUDGET_SUFFIX,
}
"""What follows a RayCluster's name in that of an object which it has."""


def is_named_by_us(kind: ObjectKind, body: Mapping[str, Any]) -> bool:
    """Whether an object has a name that the operator gives to one of its kind and labels."""
    name, labels = body["metadata"]["name"], body["metadata"].get("labels") or {}
    cluster = labels.get(names.LABEL_CLUSTER)
    if name in _FIXED_NAMES.get(kind, _GATEWAY_ONLY):
        return True
    if kind in _SUFFIXES:
        return cluster is not None and name == f"{cluster}{_SUFFIXES[kind]}"
    class_, _, digits = name.rpartition("-")
    is_digest = re.fullmatch(rf"[0-9a-f]{{{names.RAY_CLUSTER_DIGITS}}}", digits) is not None
    return kind is RAY_CLUSTER and is_digest and class_ == labels.get(names.LABEL_CLASS) and name == cluster


def product_labels() -> dict[str, str]:
    """The labels of every object that the operator makes in a namespace."""
    return {names.LABEL_MANAGED_BY: names.PRODUCT, names.LABEL_PART_OF: names.PRODUCT}
