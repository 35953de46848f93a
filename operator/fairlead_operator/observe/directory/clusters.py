"""The Ray clusters of each namespace as RayClusters, and where a model's serving class places new revisions.

Source: KubeRay v1.6.2, `ray-operator/apis/ray/v1/raycluster_types.go` (states and conditions).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import made_objects, reflector, serving_classes
from fairlead_operator.observe.directory import scoped, worker_pods
from fairlead_operator.state import directory, infrastructure, serving_class
from fairlead_operator.state.capacity import Size
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.workers import WorkerLimits, WorkerPods

OBJECTS = scoped.Kind(
    path_of=functools.partial(paths.of_kind, infrastructure.RAY_CLUSTER),
    selector=kubernetes.Selector(labels=f"{names.LABEL_MANAGED_BY}={names.PRODUCT}"),
)
_HEAD_READY, _REPLICA_FAILURE = "HeadPodReady", "ReplicaFailure"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayClusterView:
    """A RayCluster of ours; ``starting`` says why its head can't answer yet.

    ``workers`` are those that it asks for; None where it has not the one worker group that it was made with.
    """

    is_deleting: bool
    starting: str | None
    workers: WorkerPods | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How a RayCluster is called, by class and namespace, and its head's URL, by namespace and name."""

    name_of: Callable[[serving_class.ServingClass, str], str]
    url_of: Callable[[str, str], str]


class KubernetesClusters:
    """Implements ``state.directory.ClusterDirectory``.

    Once it has been listed, the last list stays true while the API server is away: Ray is asked itself.
    """

    def __init__(
        self,
        api: reflector.WatchApi,
        namespaces: Sequence[str],
        *,
        classes: serving_classes.ServingClasses,
        naming: Naming,
        clock: Clock,
        on_change: Callable[[str | None], None],
    ) -> None:
        """``on_change`` gets the namespace where something changed, None where it may be any."""
        self._naming = naming
        self._on_change = on_change
        self._clusters = scoped.Scoped(api, namespaces, OBJECTS, view_cluster, clock=clock, on_change=self._note)
        self._pending = worker_pods.PendingWorkers(api, namespaces, clock=clock, on_change=self._note)
        self._classes = classes
        classes.listeners.append(self._on_class)
        self._seen_classes: object = None
        self._names: dict[tuple[str, str], tuple[serving_class.ServingClass, str]] = {}
        self._states: dict[str, object] = {}

    async def run(self) -> None:
        """List and watch for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clusters.run())
            group.create_task(self._pending.run())

    def namespaces(self) -> frozenset[str]:
        return self._clusters.namespaces()

    def is_pending(self, namespace: str) -> bool:
        return self._classes.is_pending() or self._clusters.is_pending(namespace)

    def clusters(self, namespace: str) -> tuple[directory.Cluster, ...]:
        return tuple(
            directory.Cluster(
                name=name,
                url=self._naming.url_of(namespace, name),
                starting=one.starting,
                workers=self._pending.count(namespace, name, one.workers) if one.workers is not None else None,
            )
            for name, one in scoped.items(self._clusters.values(namespace))
            if not one.is_deleting
        )

    def place(self, namespace: str, class_name: str | None) -> directory.Placement | directory.Unplaced:
        if (unread := self._unread(namespace)) is not None:
            return unread
        found = serving_class.find_class(self._stored(), class_name)
        if found is None:
            return directory.Unplaced(reason=Reason.NO_SERVING_CLASS, message=self._no_class(class_name))
        cluster, limits = self._name_of(namespace, found), _limits(found.content)
        one = self._clusters.values(namespace).get(cluster)
        if one is None or one.is_deleting:
            why = f"RayCluster {cluster} of ServingClass {found.name} does not exist yet."
            return directory.Placement(cluster=cluster, awaited=why, limits=limits)
        return directory.Placement(cluster=cluster, awaited=one.starting, limits=limits)

    def placements(self, namespace: str) -> frozenset[str]:
        return frozenset(self._name_of(namespace, each) for each in self._stored().values())

    def state(self, namespace: str) -> object:
        if namespace not in self._states:
            classes = sorted(
                (
                    each.name,
                    each.is_default,
                    each.created_at,
                    self._name_of(namespace, each),
                    _limits(each.content).most,
                )
                for each in self._stored().values()
            )
            self._states[namespace] = (repr(self.clusters(namespace)), classes)
        return self._states[namespace]

    def _on_class(self) -> None:
        """A write of a status, which is our own, changes nothing here: every Ray head would be read once more."""
        contents = {name: view.content for name, view in self._classes.views().items()}
        seen = (self._classes.unlisted() is None, contents)
        if seen != self._seen_classes:
            self._seen_classes = seen
            self._note(None)

    def _note(self, namespace: str | None) -> None:
        if namespace is None:
            self._states.clear()
            stored = self._stored()
            self._names = {key: found for key, found in self._names.items() if key[0] in stored}
        else:
            self._states.pop(namespace, None)
        self._on_change(namespace)

    def _stored(self) -> Mapping[str, serving_class.StoredClass]:
        """The last classes that were listed."""
        views = self._classes.views().values()
        return {view.name: view.content for view in views if not isinstance(view.content, str)}

    def _unread(self, namespace: str) -> directory.Unplaced | None:
        """Why it isn't known what there is; None once both were listed."""
        if (error := self._classes.unlisted()) is not None:
            return _unreadable("ServingClasses", error)
        if self._clusters.is_listed(namespace):
            return None
        error = self._clusters.error(namespace)
        if isinstance(error, errors.NotFound):
            return directory.Unplaced(reason=Reason.KUBERAY_MISSING, message=infrastructure.NO_RAYCLUSTER_CRD)
        return _unreadable("RayClusters", error)

    def _no_class(self, class_name: str | None) -> str:
        view = self._classes.views().get(class_name) if class_name is not None else None
        if view is not None and isinstance(view.content, str):
            cause = one_line(view.content).rstrip(".")
            return (
                f"Cannot read ServingClass {class_name}: {cause}. Correct it, or set spec.cluster.class to another one."
            )
        return serving_class.describe_missing(class_name)

    def _name_of(self, namespace: str, class_: serving_class.StoredClass) -> str:
        """The name holds a digest of the whole class, so it is kept for as long as the class is the same."""
        kept = self._names.get((class_.name, namespace))
        if kept is None or kept[0] != class_.content:
            kept = (class_.content, self._naming.name_of(class_.content, namespace))
            self._names[class_.name, namespace] = kept
        return kept[1]


def _unreadable(what: str, error: Exception | None) -> directory.Unplaced:
    cause = errors.cause_of(error) if error is not None else "they were not read yet"
    message = f"Cannot read the {what}: {hide_addresses(cause).rstrip('.')}. The operator retries."
    return directory.Unplaced(reason=Reason.RAY_UNREACHABLE, message=message)


def view_cluster(body: Mapping[str, Any]) -> RayClusterView:
    """A RayCluster; whatever is odd in its status is no sign that the head is ready."""
    metadata = body["metadata"]
    return RayClusterView(
        is_deleting=metadata.get("deletionTimestamp") is not None,
        starting=_starting(metadata["name"], body),
        workers=_workers(body),
    )


def _workers(body: Mapping[str, Any]) -> WorkerPods | None:
    """How many KubeRay makes: as many as an autoscaler asks for, within the bounds."""
    bounds = made_objects.bounds_of(body)
    if bounds is None:
        return None
    asked = body["spec"]["workerGroupSpecs"][0].get("replicas")
    wanted = asked if isinstance(asked, int) else bounds.least
    return WorkerPods(wanted=max(bounds.least, min(bounds.most, wanted)), most=bounds.most)


def _limits(class_: serving_class.ServingClass) -> WorkerLimits:
    return WorkerLimits(
        class_name=class_.name,
        size=Size(cpu_cores=class_.worker.ray_cores, memory_bytes=class_.worker.size.memory_bytes),
        most=class_.workers_max,
    )


def _starting(name: str, body: Mapping[str, Any]) -> str | None:
    """Why the head can't answer, in KubeRay's words where there are some; None where it is ready."""
    status = body.get("status")
    status = status if isinstance(status, dict) else {}
    listed = status.get("conditions")
    conditions = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    by_type = {each.get("type"): each for each in conditions}
    head = by_type.get(_HEAD_READY, {})
    if head.get("status") == "True" or (not head and status.get("state") == "ready"):
        return None
    failure = by_type.get(_REPLICA_FAILURE, {})
    condition = failure if failure.get("status") == "True" else head
    words = ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))
    sentence = f"the head of RayCluster {name} is not ready yet"
    return one_line(hide_addresses(f"{sentence}: {words}" if words else f"{sentence}."))
