"""What the queue holds: one key for each model, Ray cluster, namespace and serving class."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True, order=True)
class ModelKey:
    """One ModelDeployment; its pass decides its rollout, its route and its status."""

    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class RayKey:
    """One Ray cluster of a namespace; its pass alone writes that cluster's Serve config."""

    namespace: str
    cluster: str

    @override
    def __str__(self) -> str:
        return f"ray/{self.namespace}/{self.cluster}"


@dataclass(frozen=True, slots=True, order=True)
class NamespaceKey:
    """One namespace; its pass makes and removes what models need to be served there."""

    namespace: str

    @override
    def __str__(self) -> str:
        return f"namespace/{self.namespace}"


@dataclass(frozen=True, slots=True, order=True)
class ClassKey:
    """One serving class; its pass writes the status of the object."""

    name: str

    @override
    def __str__(self) -> str:
        return f"serving-class/{self.name}"


Key = ModelKey | RayKey | NamespaceKey | ClassKey
WaitingKey = ModelKey | RayKey
"""Keys that wait for their own part of the world; the others are queued by each change of what they rest on."""


def lane_of(key: Key) -> Hashable:
    """Namespaces take turns; the writes of Serve configs are a lane of their own, as each may hang for long."""
    match key:
        case RayKey():
            return "ray"
        case ClassKey():
            return "classes"
        case ModelKey() | NamespaceKey():
            return (key.namespace,)
