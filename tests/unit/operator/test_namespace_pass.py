"""When a namespace's pass is due once more, and what it says of what it keeps."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import builders, serving_classes
from tests.support.hand_clock import HandClock

from fairlead_operator import composition, namespace_pass, problems, telemetry
from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import network, objects
from fairlead_operator.observe import made_objects
from fairlead_operator.observe import serving_classes as classes
from fairlead_operator.state import infrastructure, keys, knowledge

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

NAMESPACE = keys.NamespaceKey("models")
READ, UNREAD = keys.ModelKey("models", "digits"), keys.ModelKey("models", "odd")
CALLERS = network.Callers(operator="fairlead-system")
OLD = "small-0123456789"


class Api:
    """A namespace that has everything, and a RayCluster that nothing uses. No write is expected."""

    async def list_all(self, path: str, **_: Any) -> tuple[list[dict[str, Any]], str]:
        return LISTS[path.rpartition("/")[2]], "10"

    async def watch(self, _path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


def lists() -> defaultdict[str, list[dict[str, Any]]]:
    class_ = serving_classes.make("small")
    cluster = ray_cluster.build(class_, namespace="models")
    made = objects.compose("models", gateway_class=class_, clusters={cluster.name: 1, OLD: 1}, callers=CALLERS)
    old = {**cluster.body["metadata"], "name": OLD, "labels": {**cluster.body["metadata"]["labels"]}}
    old["labels"][names.LABEL_CLUSTER] = OLD
    found = defaultdict(list)
    for kind, body in [
        *((each.key.kind, each.body) for each in made),
        (infrastructure.RAY_CLUSTER, cluster.body),
        (infrastructure.RAY_CLUSTER, {**cluster.body, "metadata": old}),
        (infrastructure.SECRET, objects.token_secret("models", "token")),
    ]:
        found[kind.plural].append(stored(body))
    found["servingclasses"].append(stored({**serving_classes.manifest(default=True), "status": {}}))
    return found


def stored(body: Any) -> dict[str, Any]:
    more = {"uid": f"u-{body['metadata']['name']}", "resourceVersion": "5", "creationTimestamp": "2026"}
    return {**body, "metadata": {**body["metadata"], **more}}


LISTS = lists()


async def started(composed: composition.Composition) -> namespace_pass.NamespacePass:
    api = Api()
    known = classes.ServingClasses(api, clock=HandClock())
    made = made_objects.MadeObjects(api, (None,), clock=HandClock(), on_change=lambda _: None, on_loss=lambda _: None)
    reading = [asyncio.create_task(known.run()), asyncio.create_task(made.run())]
    await asyncio.sleep(0.1)
    for each in reading:
        each.cancel()
    return namespace_pass.NamespacePass(
        api=None,  # type: ignore[arg-type]  # nothing is written
        made=made,
        classes=known,
        composed=composed,
        used_clusters=lambda _: knowledge.Known(frozenset()),
        problems=problems.Problems(),
        callers=CALLERS,
        metrics=telemetry.Metrics(),
    )


async def test_a_model_that_cannot_be_read_asks_for_no_pass_and_what_is_kept_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    composed = composition.Composition()
    composed.note_listed(None)
    composed.put(READ, {})
    composed.used.note(READ, builders.model_deployment())
    composed.put(UNREAD, None)
    passes = await started(composed)
    caplog.set_level(logging.INFO)
    assert [await passes.run(NAMESPACE) for _ in range(3)] == [None, None, None]
    (warning,) = [record for record in caplog.records if "odd" in record.message]
    assert f"RayCluster {OLD}" in warning.message


async def test_before_all_models_had_a_pass_the_namespace_is_looked_at_once_more() -> None:
    composed = composition.Composition()
    composed.note_listed(None)
    composed.expect(UNREAD)
    composed.put(READ, {})
    composed.used.note(READ, builders.model_deployment())
    passes = await started(composed)
    assert await passes.run(NAMESPACE) == namespace_pass.INCOMPLETE_S
