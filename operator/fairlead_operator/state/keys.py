"""What the queue holds: one key for each model, one for each Ray cluster."""

from __future__ import annotations

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


Key = ModelKey | RayKey
