"""What the operator made in its namespaces, one watch for each kind, ours kept apart from those of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import serving_classes
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import network, objects
from fairlead_operator.observe import made_objects
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import ObjectKey, WorkerBounds

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

GATEWAY = ObjectKey(infrastructure.DEPLOYMENT, "fairlead-gateway")


def body(namespace: str, name: str, *, ours: bool = True, **more: Any) -> dict[str, Any]:
    labels = infrastructure.product_labels() if ours else {}
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "resourceVersion": "5"}
    return {"metadata": {**metadata, "labels": labels}, **more}


class Api:
    """Lists what a test sets by the plural in the path; watches are silent."""

    def __init__(self, **items: list[dict[str, Any]]) -> None:
        self.items = items
        self.asked: dict[str, kubernetes.Selector] = {}

    async def list_all(
        self, path: str, *, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> tuple[list[dict[str, Any]], str]:
        plural = path.rpartition("/")[2]
        self.asked[plural] = selector
        if plural == "rayclusters" and plural not in self.items:
            raise errors.NotFound("no such kind")
        return self.items.get(plural, []), "10"

    async def watch(self, _path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


async def listed(api: Api) -> tuple[made_objects.MadeObjects, list[str]]:
    changed: list[str] = []
    made = made_objects.MadeObjects(api, (None,), clock=HandClock(), on_change=changed.append, on_loss=changed.append)
    assert made.is_pending("models")
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.1)
    task.cancel()
    return made, changed


async def test_objects_are_kept_by_namespace_and_apart_from_those_of_others() -> None:
    api = Api(deployments=[body("models", "fairlead-gateway"), body("other", "fairlead-gateway", ours=False)])
    made, changed = await listed(api)
    assert made.objects("models")[GATEWAY].is_ours
    assert not made.objects("other")[GATEWAY].is_ours
    assert made.namespaces() == {"models"}
    assert {"models", "other"} <= set(changed)


async def test_watches_are_limited_to_one_name_where_there_is_only_one() -> None:
    api = Api()
    await listed(api)
    assert api.asked["secrets"].fields == "metadata.name=fairlead-ray-token"
    assert api.asked["roles"].fields == "metadata.name=fairlead-gateway"
    assert api.asked["services"].labels is not None


async def test_a_kind_that_does_not_exist_is_known_to_be_unreadable() -> None:
    made, _ = await listed(Api())
    assert not made.is_pending("models")
    assert isinstance(made.error_of("models", infrastructure.RAY_CLUSTER), errors.NotFound)
    assert made.error_of("models", infrastructure.SECRET) is None


async def test_what_the_operator_composes_is_no_copy_and_another_name_makes_one() -> None:
    class_ = serving_classes.make("small")
    cluster = ray_cluster.build(class_, namespace="models")
    callers = network.Callers(operator="fairlead-system")
    wanted = objects.compose("models", gateway_class=class_, clusters={cluster.name: 2}, callers=callers)
    secret = ObjectKey(infrastructure.SECRET, "fairlead-ray-token"), objects.token_secret("models", "token")
    for key, composed in [secret, (cluster.key, cluster.body), *((each.key, each.body) for each in wanted)]:
        original = {**composed, "metadata": {**composed["metadata"], "uid": "u"}}
        assert not made_objects.view_made(key.kind, original).is_copy
        for name in ("copy", "copy-nodes", "copy-workers", "small-0000000000"):
            copy = {**original, "metadata": {**original["metadata"], "name": name}}
            assert made_objects.view_made(key.kind, copy).is_copy


@pytest.mark.parametrize(
    ("groups", "bounds"),
    [
        ([{"minReplicas": 1, "maxReplicas": 3}], WorkerBounds(least=1, most=3)),
        (
            [{"minReplicas": 1, "maxReplicas": 3, "idleTimeoutSeconds": 60, "replicas": 2}],
            WorkerBounds(least=1, most=3, idle_s=60),
        ),
        ([], None),
        ([{}, {}], None),
        ("odd", None),
        ([{"minReplicas": "1", "maxReplicas": 3}], None),
    ],
)
async def test_the_bounds_of_a_ray_cluster_are_those_of_its_one_group(groups: Any, bounds: WorkerBounds | None) -> None:
    api = Api(rayclusters=[body("models", "small-0123456789", spec={"workerGroupSpecs": groups})])
    made, _ = await listed(api)
    assert made.objects("models")[ObjectKey(infrastructure.RAY_CLUSTER, "small-0123456789")].bounds == bounds


@pytest.mark.parametrize(
    ("status", "workers"), [(None, 2), ({}, 2), ({"desiredWorkerReplicas": 5}, 5), ({"desiredWorkerReplicas": "5"}, 2)]
)
async def test_the_workers_of_a_ray_cluster_are_as_many_as_kuberay_says(status: Any, workers: int) -> None:
    body = dict(ray_cluster.build(serving_classes.make(workers={"min": 2, "max": 9}), namespace="models").body)
    stored = {**body, "metadata": {**body["metadata"], "uid": "u"}, "status": status}
    assert made_objects.view_made(infrastructure.RAY_CLUSTER, stored).workers == workers
    without_group = {**stored, "spec": {**body["spec"], "workerGroupSpecs": []}}
    assert made_objects.view_made(infrastructure.RAY_CLUSTER, without_group).workers is None
