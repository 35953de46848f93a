"""What the operator does where it makes Ray clusters and gateways itself: two watched worlds, and two kinds of passes.

It is off where Ray clusters or gateways are given by flags.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from fairlead_operator import class_pass, composition, namespace_pass, problems, queue, telemetry, waiting
from fairlead_operator.clients import kubernetes
from fairlead_operator.clients.clock import Clock
from fairlead_operator.desired.namespace import network
from fairlead_operator.observe import made_objects, reflector, serving_classes
from fairlead_operator.state import infrastructure, keys, knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of the process it needs. ``scopes`` are the served namespaces, None alone for all."""

    api: kubernetes.KubernetesClient
    watch_api: reflector.WatchApi
    scopes: Iterable[str | None]
    work: queue.KeyedQueue[keys.Key]
    waits: waiting.Waiting
    composed: composition.Composition
    problems: problems.Problems
    classes: serving_classes.ServingClasses
    used_clusters: Callable[[str], knowledge.Known[frozenset[str]] | knowledge.Unknown]
    callers: network.Callers
    clock: Clock
    metrics: telemetry.Metrics


class ClusterMode:
    """Queues a namespace or a class whenever something that its pass rests on has changed."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.classes = parts.classes
        self.classes.listeners.append(self._on_class)
        self._contents: Mapping[str, object] = {}
        self.made = made_objects.MadeObjects(
            parts.watch_api,
            parts.scopes,
            clock=parts.clock,
            on_change=self._queue_namespace,
            on_loss=self._queue_namespace_now,
        )
        parts.composed.used.on_change = self._queue_namespace_now
        parts.composed.used.on_places = self.on_revision
        parts.problems.on_change = self._on_problem
        self._namespaces = namespace_pass.NamespacePass(
            api=parts.api,
            made=self.made,
            classes=self.classes,
            composed=parts.composed,
            used_clusters=parts.used_clusters,
            problems=parts.problems,
            callers=parts.callers,
            metrics=parts.metrics,
        )
        self._class_pass = class_pass.ClassPass(
            api=parts.api, classes=self.classes, used=parts.composed.used, problems=parts.problems, clock=parts.clock
        )

    async def watch(self) -> None:
        """Read for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.classes.run())
            group.create_task(self.made.run())

    async def run(self, key: keys.NamespaceKey | keys.ClassKey) -> float | None:
        """One pass; when the key is due once more, None where it waits for a change."""
        match key:
            case keys.NamespaceKey():
                return await self._namespaces.run(key)
            case keys.ClassKey():
                await self._class_pass.run(key)
                return None
        assert_never(key)

    async def resync(self) -> None:
        """What the queue lost, if anything, is found here."""
        self.queue_all()

    def queue_all(self) -> None:
        """Have a pass over everything that is known."""
        for namespace in self._parts.composed.used.namespaces() | self.made.namespaces():
            self._queue_namespace(namespace)
        self._queue_classes()

    def on_revision(self, key: keys.ModelKey) -> None:
        """A revision changed, or its place; where several Ray clusters are, one of them may be used no more."""
        kinds = [each.kind for each in self.made.objects(key.namespace)]
        if kinds.count(infrastructure.RAY_CLUSTER) > 1:
            self._queue_namespace(key.namespace)

    def _on_class(self) -> None:
        """Somebody changed what a pass may have failed at; a status is written by our own passes."""
        contents = {name: view.content for name, view in self.classes.views().items()}
        is_same, self._contents = contents == self._contents, contents
        if is_same:
            self._queue_classes()
            return
        for namespace in self._parts.composed.used.namespaces() | self.made.namespaces():
            self._queue_namespace_now(namespace)
        self._queue_classes()

    def _queue_namespace_now(self, namespace: str) -> None:
        """A write that is refused for long doesn't hold up what a pass can do. Our own writes don't repeat it."""
        self._parts.work.add_now(keys.NamespaceKey(namespace))

    def _queue_namespace(self, namespace: str) -> None:
        self._parts.work.add(keys.NamespaceKey(namespace))

    def _queue_classes(self) -> None:
        for name in self.classes.views():
            self._parts.work.add(keys.ClassKey(name))

    def _on_problem(self, namespace: str) -> None:
        """Its models' conditions and its classes' have to say so."""
        for name in self._parts.composed.used.classes(namespace):
            self._parts.waits.touch(keys.ModelKey(namespace, name))
        self._queue_classes()
