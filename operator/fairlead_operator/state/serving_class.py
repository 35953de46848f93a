"""What a platform engineer decides about the pods that serve models; nothing of it is a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSize:
    """Request and limit of a pod's container: whole processors, and bytes."""

    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingClass:
    """The Ray clusters of a class: their image (by digest), the Ray in it, the pods' sizes and how many workers."""

    name: str
    image: str
    ray_version: str
    head: PodSize
    worker: PodSize
    workers_min: int
    workers_max: int
    object_store_bytes: int = 200 * 1024 * 1024
    drain_s: int = 120
    """How long a worker that is asked to end may go on with what is in flight."""
    image_pull_secrets: Sequence[str] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    priority_class: str | None = None
