"""What a platform engineer decides about the pods that serve models; nothing of it is a model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead_operator.api import quantities
from fairlead_operator.api import serving_class as api


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSize:
    """Requests of a pod's container, and its limit of memory."""

    cpu_millicores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPods:
    """The pods of one kind, and where they may run. ``tolerations`` are as in a pod."""

    size: PodSize
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    priority_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPods:
    """The gateway pods of a namespace, and the type of the Service that clients call."""

    image: str
    replicas: int
    service_type: str
    size: PodSize


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingClass:
    """The Ray clusters and gateways of a class: the images (best by digest), the Ray in them, and the pods."""

    name: str
    image: str
    ray_version: str
    head: RayPods
    worker: RayPods
    workers_min: int
    workers_max: int
    gateway: GatewayPods
    image_pull_secrets: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClass:
    """A ServingClass as the API server has it; ``created_at`` is as there, and so sorts by time."""

    name: str
    created_at: str
    is_default: bool
    content: ServingClass


def from_spec(name: str, spec: api.ServingClassSpec) -> ServingClass:
    """The class that an object's spec describes."""
    return ServingClass(
        name=name,
        image=spec.image,
        ray_version=spec.ray_version,
        head=_ray_pods(spec.head),
        worker=_ray_pods(spec.worker),
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
        gateway=GatewayPods(
            image=spec.gateway.image,
            replicas=spec.gateway.replicas,
            service_type=spec.gateway.service_type.value,
            size=_size(spec.gateway.resources.cpu, spec.gateway.resources.memory),
        ),
        image_pull_secrets=spec.image_pull_secrets,
    )


def find_defaults(classes: Iterable[StoredClass]) -> tuple[StoredClass, ...]:
    """The classes that are marked as the default, oldest first; the first one is used."""
    return tuple(sorted((each for each in classes if each.is_default), key=lambda each: (each.created_at, each.name)))


def find_class(classes: Mapping[str, StoredClass], name: str | None) -> StoredClass | None:
    """The class of a model that names this one, or names none; None where there is no such class."""
    if name is not None:
        return classes.get(name)
    return next(iter(find_defaults(classes.values())), None)


def _ray_pods(pods: api.RayPods) -> RayPods:
    return RayPods(
        size=_size(pods.cpu, pods.memory),
        node_selector=pods.node_selector,
        tolerations=tuple(each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in pods.tolerations),
        priority_class=pods.priority_class_name,
    )


def _size(cpu: str, memory: str) -> PodSize:
    return PodSize(cpu_millicores=int(quantities.parse(cpu) * 1000), memory_bytes=int(quantities.parse(memory)))
