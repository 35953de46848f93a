"""Which Ray clusters and which gateways a namespace has: the interfaces, and lists that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator.state.gateways import MemberState
from fairlead_operator.state.knowledge import ABSENT, Absent, Known, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster; ``url`` is the address of its head's dashboard."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway of a namespace; ``name`` is shown to people and holds no address."""

    name: str
    data_url: str
    admin_url: str
    state: MemberState = MemberState.READY


class ClusterDirectory(Protocol):
    """The Ray clusters of each namespace. An implementation answers from memory, and only once it knows them all."""

    def namespaces(self) -> frozenset[str]:
        """Every namespace with a cluster."""
        ...

    def clusters(self, namespace: str) -> tuple[Cluster, ...]:
        """The namespace's clusters; new revisions go to the first one."""
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


@dataclass(frozen=True, slots=True)
class StaticGateways:
    """Gateways that were given at the start, by namespace: all of them are always Ready."""

    by_namespace: Mapping[str, tuple[Gateway, ...]]

    def members(self, namespace: str) -> Known[tuple[Gateway, ...]] | Absent | Unknown:
        members = self.by_namespace.get(namespace, ())
        return Known(members) if members else ABSENT
