"""The objects that the operator made in namespaces, as watches keep them, with its own writes in them at once.

Where all objects of a kind have one name, the watch is for that name: rules that are limited to it suffice, and objects
of somebody else under that name are seen. Of other kinds only objects with our labels are seen.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import MadeObject, ObjectKey, ObjectKind, WorkerBounds

_OURS = kubernetes.Selector(labels=",".join(f"{key}={value}" for key, value in infrastructure.product_labels().items()))
_GATEWAY = kubernetes.Selector(fields=f"metadata.name={names.GATEWAY}")
_SELECTORS: Mapping[ObjectKind, kubernetes.Selector] = {
    infrastructure.SECRET: kubernetes.Selector(fields=f"metadata.name={names.TOKEN_SECRET}"),
    infrastructure.SERVICE: _OURS,
    infrastructure.SERVICE_ACCOUNT: _GATEWAY,
    infrastructure.DEPLOYMENT: _GATEWAY,
    infrastructure.ROLE: _GATEWAY,
    infrastructure.ROLE_BINDING: _GATEWAY,
    infrastructure.DISRUPTION_BUDGET: _OURS,
    infrastructure.NETWORK_POLICY: _OURS,
    infrastructure.RAY_CLUSTER: _OURS,
}
KINDS = tuple(_SELECTORS)

_Reflector = reflector.Reflector[MadeObject]


class MadeObjects:
    """``scopes`` are the namespaces that are served, None alone for all.

    ``on_change`` gets a namespace's name, ``on_loss`` that of one in which an object of ours is gone.
    """

    def __init__(
        self,
        api: reflector.WatchApi,
        scopes: Iterable[str | None],
        *,
        clock: Clock,
        on_change: Callable[[str], None],
        on_loss: Callable[[str], None],
    ) -> None:
        self._on_change = on_change
        self._on_loss = on_loss
        self._by_namespace: dict[str, dict[ObjectKey, MadeObject]] = defaultdict(dict)
        self._reflectors: dict[tuple[str | None, ObjectKind], _Reflector] = {
            (scope, kind): self._reflect(api, scope, kind, clock) for scope in scopes for kind in KINDS
        }

    async def run(self) -> None:
        """List and watch for ever."""
        async with asyncio.TaskGroup() as group:
            for each in self._reflectors.values():
                group.create_task(each.run())

    def namespaces(self) -> frozenset[str]:
        """Every namespace with an object of ours."""
        return frozenset(
            name for name, objects in self._by_namespace.items() if any(made.is_ours for made in objects.values())
        )

    def objects(self, namespace: str) -> Mapping[ObjectKey, MadeObject]:
        """What is known to be there."""
        return self._by_namespace.get(namespace, {})

    def error_of(self, namespace: str, kind: ObjectKind) -> errors.FairleadError | None:
        """Why nothing is known of a kind; an object that isn't listed is then not known to be absent."""
        found = self._find(namespace, kind)
        if found.error is None and not found.is_listed:
            return errors.RetryLater(f"API server: {kind.plural} were not read yet")
        return found.error

    def is_pending(self, namespace: str) -> bool:
        """Whether the first answer for a kind is still to come."""
        found = (self._find(namespace, kind) for kind in KINDS)
        return any(not each.is_listed and each.error is None for each in found)

    def wrote(self, namespace: str, kind: ObjectKind, body: Mapping[str, Any]) -> None:
        """The answer to a write of ours."""
        self._find(namespace, kind).wrote(body)

    def _find(self, namespace: str, kind: ObjectKind) -> _Reflector:
        everywhere = self._reflectors.get((None, kind))
        return everywhere if everywhere is not None else self._reflectors[namespace, kind]

    def _reflect(self, api: reflector.WatchApi, scope: str | None, kind: ObjectKind, clock: Clock) -> _Reflector:
        collection = reflector.Collection(path=paths.of_kind(kind, scope), selector=_SELECTORS[kind])

        def changed(qualified: str) -> None:
            if not qualified:
                for namespace in self.namespaces():
                    self._on_change(namespace)
                return
            namespace, _, name = qualified.partition("/")
            made = self._reflectors[scope, kind].get(qualified)
            before = self._keep(namespace, ObjectKey(kind, name), made)
            is_lost = made is None and before is not None and before.is_ours
            (self._on_loss if is_lost else self._on_change)(namespace)

        return reflector.Reflector(
            api,
            collection,
            lambda body: view_made(kind, body),
            clock=clock,
            on_change=changed,
            key_of=reflector.qualified_name_of,
        )

    def _keep(self, namespace: str, key: ObjectKey, made: MadeObject | None) -> MadeObject | None:
        """What was there before."""
        objects = self._by_namespace[namespace]
        before = objects.pop(key, None)
        if made is not None:
            objects[key] = made
        elif not objects:
            del self._by_namespace[namespace]
        return before


def view_made(kind: ObjectKind, body: Mapping[str, Any]) -> MadeObject:
    """An object of one of the kinds; the items of a list don't say their kind themselves."""
    metadata = body["metadata"]
    is_ours = infrastructure.is_ours(body)
    bounds = bounds_of(body) if kind is infrastructure.RAY_CLUSTER else None
    return MadeObject(
        uid=metadata["uid"],
        is_ours=is_ours,
        is_copy=is_ours and not infrastructure.is_named_by_us(kind, body),
        is_deleting=metadata.get("deletionTimestamp") is not None,
        digest=(metadata.get("annotations") or {}).get(names.ANNOTATION_APPLIED),
        bounds=bounds,
        workers=_workers(body, bounds) if bounds is not None else None,
    )


def bounds_of(body: Mapping[str, Any]) -> WorkerBounds | None:
    """The bounds of a RayCluster's workers; None where it has not the one worker group that it was made with."""
    groups = (body.get("spec") or {}).get("workerGroupSpecs")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], Mapping):
        return None
    least, most = groups[0].get("minReplicas"), groups[0].get("maxReplicas")
    if not isinstance(least, int) or not isinstance(most, int):
        return None
    idle_s = groups[0].get("idleTimeoutSeconds")
    return WorkerBounds(least=least, most=most, idle_s=idle_s if isinstance(idle_s, int) else None)


def _workers(body: Mapping[str, Any], bounds: WorkerBounds) -> int:
    """How many worker pods KubeRay says that there are to be; the least until it has said so."""
    desired = (body.get("status") or {}).get("desiredWorkerReplicas")
    return desired if isinstance(desired, int) else bounds.least
