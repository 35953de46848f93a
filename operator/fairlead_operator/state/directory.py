"""Which Ray clusters and which gateways a namespace has: the interfaces, and lists that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator.state.gateways import MemberState
from fairlead_operator.state.knowledge import ABSENT, Absent, Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.workers import WorkerLimits, WorkerPods


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster; ``url`` is the address of its head's dashboard. ``starting`` says why it can't answer yet.

    ``workers`` is None where nothing is known of its worker pods.
    """

    name: str
    url: str
    starting: str | None = None
    workers: WorkerPods | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The Ray cluster of a new revision; ``awaited`` says why it can't run one yet.

    ``limits`` is what its workers can hold; None where the cluster is not made from a serving class.
    """

    cluster: str
    awaited: str | None = None
    limits: WorkerLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """Why there is no Ray cluster for a new revision, or why that can't be said now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway of a namespace; ``name`` is shown to people and holds no address."""

    name: str
    data_url: str
    admin_url: str
    state: MemberState = MemberState.READY


class ClusterDirectory(Protocol):
    """The Ray clusters of each namespace, answered from memory. One that isn't listed may still run."""

    def namespaces(self) -> frozenset[str]:
        """Every namespace with a cluster."""
        ...

    def is_pending(self, namespace: str) -> bool:
        """Whether a first answer is on its way."""
        ...

    def clusters(self, namespace: str) -> tuple[Cluster, ...]:
        """The namespace's clusters."""
        ...

    def place(self, namespace: str, class_name: str | None) -> Placement | Unplaced:
        """Where a new revision goes of a model that names this serving class, or none."""
        ...

    def placements(self, namespace: str) -> frozenset[str]:
        """Every cluster where new revisions may go."""
        ...

    def state(self, namespace: str) -> object:
        """What all answers for a namespace depend on: plain values, which stay equal while the answers do."""
        ...


class GatewayDirectory(Protocol):
    """The gateways of each namespace, answered from memory."""

    def members(self, namespace: str) -> Known[tuple[Gateway, ...]] | Absent | Unknown:
        """Every gateway that may still take requests; one that isn't listed is gone.

        Absent where the namespace is to have none, Unknown where that can't be said now.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticClusters:
    """Clusters that were given at the start, by namespace."""

    by_namespace: Mapping[str, tuple[Cluster, ...]]

    def namespaces(self) -> frozenset[str]:
        return frozenset(self.by_namespace)

    def clusters(self, namespace: str) -> tuple[Cluster, ...]:
        return self.by_namespace.get(namespace, ())

    def is_pending(self, namespace: str) -> bool:
        return False

    def place(self, namespace: str, class_name: str | None) -> Placement | Unplaced:
        """The one with the name of the class; the first one where the model names none."""
        listed = {cluster.name: cluster for cluster in self.clusters(namespace)}
        if not listed:
            message = f"No Ray cluster is configured for namespace {namespace}."
            return Unplaced(reason=Reason.NO_RAY_CLUSTER, message=message)
        name = class_name if class_name is not None else next(iter(listed))
        if name in listed:
            return Placement(cluster=name)
        message = (
            f"No Ray cluster {name} is configured for namespace {namespace}. Set spec.cluster.class to one of "
            f"{', '.join(listed)}, or leave it out."
        )
        return Unplaced(reason=Reason.NO_SERVING_CLASS, message=message)

    def placements(self, namespace: str) -> frozenset[str]:
        return frozenset(cluster.name for cluster in self.clusters(namespace))

    def state(self, namespace: str) -> object:
        return ()


@dataclass(frozen=True, slots=True)
class StaticGateways:
    """Gateways that were given at the start, by namespace: all of them are always Ready."""

    by_namespace: Mapping[str, tuple[Gateway, ...]]

    def members(self, namespace: str) -> Known[tuple[Gateway, ...]] | Absent | Unknown:
        members = self.by_namespace.get(namespace, ())
        return Known(members) if members else ABSENT
