"""The objects that the operator makes in a namespace so that models can be served there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from fairlead_operator.api import names


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
    """The bounds of a RayCluster's worker group, the only part of it that is ever changed."""

    least: int
    most: int


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
    """An object that is there, under a name of ours. ``digest`` is what was applied last; ``bounds`` a RayCluster's.

    One that is not ``is_ours`` lacks our labels: it is never changed.
    """

    uid: str
    is_ours: bool
    is_deleting: bool = False
    digest: str | None = None
    bounds: WorkerBounds | None = None


def product_labels() -> dict[str, str]:
    """The labels of every object that the operator makes in a namespace."""
    return {names.LABEL_MANAGED_BY: names.PRODUCT, names.LABEL_PART_OF: names.PRODUCT}
