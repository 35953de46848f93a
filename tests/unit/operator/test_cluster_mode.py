"""What queues a namespace's pass, and what ends the pause after its failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import builders, serving_classes
from tests.support.hand_clock import HandClock

from fairlead_operator import cluster_mode, composition, problems, queue, telemetry
from fairlead_operator.clients import kubernetes
from fairlead_operator.observe import serving_classes as classes
from fairlead_operator.state import keys, knowledge

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

KEY = keys.ModelKey("models", "digits")
NAMESPACE = keys.NamespaceKey("models")


class Api:
    """One class, and whatever a test sends of it."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def list_all(
        self, path: str, *, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> tuple[list[dict[str, Any]], str]:
        return ([stored(5)] if path.endswith("servingclasses") else []), "10"

    async def watch(self, path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        if not path.endswith("servingclasses"):
            await asyncio.Event().wait()
        while True:
            yield {"type": "MODIFIED", "object": await self.events.get()}


def stored(version: int, *, status: Any = None, **changes: Any) -> dict[str, Any]:
    body = serving_classes.manifest(default=True, **changes)
    metadata = {**body["metadata"], "uid": "u", "resourceVersion": str(version), "creationTimestamp": "2026"}
    return {**body, "metadata": metadata, "status": status or {}}


async def test_after_a_failure_another_content_of_a_class_is_tried_at_once_and_its_status_is_not() -> None:
    api, work = Api(), queue.KeyedQueue[keys.Key]()
    made = composition.Composition()
    known = classes.ServingClasses(api, clock=HandClock())
    parts = cluster_mode.Parts(
        api=None,  # type: ignore[arg-type]  # no pass is run here
        watch_api=api,
        classes=known,
        scopes=(None,),
        work=work,
        waits=None,  # type: ignore[arg-type]
        composed=made,
        problems=problems.Problems(),
        used_clusters=lambda _: knowledge.Unknown("nothing is read here"),
        system_namespace="fairlead-system",
        clock=HandClock(),
        metrics=telemetry.Metrics(),
    )
    mode = cluster_mode.ClusterMode(parts)
    watching = asyncio.create_task(mode.watch())
    made.used.note(KEY, builders.model_deployment())
    await asyncio.sleep(0.1)
    await drain(work)
    work.add_failed(NAMESPACE, first_s=100)
    api.events.put_nowait(stored(11, status={"conditions": []}))
    await asyncio.sleep(0.1)
    assert NAMESPACE not in await drain(work)
    api.events.put_nowait(stored(12, image=serving_classes.GATEWAY_IMAGE))
    await asyncio.sleep(0.1)
    assert NAMESPACE in await drain(work)
    watching.cancel()


async def drain(work: queue.KeyedQueue[keys.Key]) -> list[keys.Key]:
    """Every key that can be taken now."""
    taken: list[keys.Key] = []
    while len(work):
        key = await work.take()
        assert key is not None
        work.done(key)
        taken.append(key)
    return taken
