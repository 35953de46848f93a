"""What queues a namespace's pass, and what ends the pause after its failure."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import builders, serving_classes
from tests.support.hand_clock import HandClock

from fairlead_operator import cluster_mode, composition, problems, queue, telemetry
from fairlead_operator.api import names
from fairlead_operator.clients import kubernetes
from fairlead_operator.desired.namespace import network
from fairlead_operator.observe import serving_classes as classes
from fairlead_operator.state import infrastructure, keys, knowledge

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

KEY = keys.ModelKey("models", "digits")
NAMESPACE = keys.NamespaceKey("models")


class Api:
    """One class, and whatever events a test sends, by the plural in the path."""

    def __init__(self) -> None:
        self.events: defaultdict[str, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)

    def send(self, plural: str, event: str, body: dict[str, Any]) -> None:
        self.events[plural].put_nowait({"type": event, "object": body})

    async def list_all(
        self, path: str, *, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> tuple[list[dict[str, Any]], str]:
        return ([stored(5)] if path.endswith("servingclasses") else []), "10"

    async def watch(self, path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self.events[path.rpartition("/")[2]].get()


def stored(version: int, *, status: Any = None, **changes: Any) -> dict[str, Any]:
    body = serving_classes.manifest(default=True, **changes)
    metadata = {**body["metadata"], "uid": "u", "resourceVersion": str(version), "creationTimestamp": "2026"}
    return {**body, "metadata": metadata, "status": status or {}}


def gateway(version: int, digest: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """The gateway's Deployment."""
    ours = infrastructure.product_labels() if labels is None else labels
    metadata = {"name": names.GATEWAY, "namespace": "models", "uid": "g", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": ours, "annotations": {names.ANNOTATION_APPLIED: digest}}}


async def started(api: Api, work: queue.KeyedQueue[keys.Key]) -> tuple[composition.Composition, asyncio.Task[None]]:
    """The mode as it is after its first passes, with one model; the namespace's pass has just failed."""
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
        callers=network.Callers(operator="fairlead-system"),
        clock=HandClock(),
        metrics=telemetry.Metrics(),
    )
    mode = cluster_mode.ClusterMode(parts)
    watching = asyncio.create_task(mode.watch())
    made.used.note(KEY, builders.model_deployment())
    await asyncio.sleep(0.1)
    await drain(work)
    work.add_failed(NAMESPACE, first_s=100)
    return made, watching


async def test_after_a_failure_another_content_of_a_class_is_tried_at_once_and_its_status_is_not() -> None:
    api, work = Api(), queue.KeyedQueue[keys.Key]()
    _, watching = await started(api, work)
    api.send("servingclasses", "MODIFIED", stored(11, status={"conditions": []}))
    await asyncio.sleep(0.1)
    assert NAMESPACE not in await drain(work)
    api.send("servingclasses", "MODIFIED", stored(12, image=serving_classes.GATEWAY_IMAGE))
    await asyncio.sleep(0.1)
    assert NAMESPACE in await drain(work)
    watching.cancel()


async def test_after_a_failure_an_object_of_ours_that_is_gone_is_made_at_once() -> None:
    api, work = Api(), queue.KeyedQueue[keys.Key]()
    _, watching = await started(api, work)
    for version, event in ((11, "ADDED"), (12, "MODIFIED")):
        api.send("deployments", event, gateway(version, event))
        await asyncio.sleep(0.1)
        assert NAMESPACE not in await drain(work), "our own writes are seen like this, and must not repeat a failure"
    api.send("deployments", "DELETED", gateway(13, "DELETED"))
    await asyncio.sleep(0.1)
    assert NAMESPACE in await drain(work)
    watching.cancel()


async def test_after_a_failure_an_object_of_somebody_else_that_is_gone_ends_no_pause() -> None:
    api, work = Api(), queue.KeyedQueue[keys.Key]()
    _, watching = await started(api, work)
    api.send("deployments", "ADDED", gateway(11, "ADDED", labels={}))
    api.send("deployments", "DELETED", gateway(12, "DELETED", labels={}))
    await asyncio.sleep(0.1)
    assert NAMESPACE not in await drain(work)
    watching.cancel()


async def test_after_a_failure_a_model_s_other_class_is_tried_at_once() -> None:
    work = queue.KeyedQueue[keys.Key]()
    made, watching = await started(Api(), work)
    made.used.note(KEY, builders.model_deployment())
    assert NAMESPACE not in await drain(work)
    made.used.note(KEY, builders.model_deployment(spec={"cluster": {"class": "large"}}))
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
