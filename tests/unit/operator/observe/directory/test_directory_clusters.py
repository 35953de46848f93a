"""Ray clusters from RayClusters, and the place of a new revision by serving class."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import fake_watches
from tests.support.fake_watches import FakeWatches
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors, paths
from fairlead_operator.observe import serving_classes
from fairlead_operator.observe.directory import clusters
from fairlead_operator.state import directory, infrastructure, serving_class
from fairlead_operator.state.capacity import Size
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.workers import WorkerLimits

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

RAY, CLASSES = paths.of_kind(infrastructure.RAY_CLUSTER, None), paths.serving_classes()
READY = {"conditions": [{"type": "HeadPodReady", "status": "True"}]}


def class_of(image: str = "ray:1", *, default: bool = False) -> dict[str, Any]:
    pods = {"cpu": "1", "memory": "1Gi"}
    return {
        "spec": {
            "default": default,
            "image": image,
            "rayVersion": "2.60.0",
            "head": pods,
            "worker": pods,
            "workers": {"min": 1, "max": 2},
            "gateway": {"image": "gateway:1"},
        }
    }


class World:
    def __init__(self, *namespaces: str) -> None:
        self.api = FakeWatches()
        self.changed: list[str | None] = []
        self.named: list[str] = []
        naming = clusters.Naming(
            name_of=self._name,
            url_of=lambda namespace, name: f"http://{name}.{namespace}",
        )
        self.classes = serving_classes.ServingClasses(self.api, clock=HandClock())
        self.found = clusters.KubernetesClusters(
            self.api,
            namespaces,
            classes=self.classes,
            naming=naming,
            clock=HandClock(),
            on_change=self.changed.append,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with fake_watches.running(self.found.run(), self.classes.run()):
            yield self

    def _name(self, class_: serving_class.ServingClass, namespace: str) -> str:
        self.named.append(class_.name)
        return f"{class_.name}-{class_.image.replace(':', '')}-{namespace}"

    def unplaced(self, class_name: str | None = None) -> directory.Unplaced:
        found = self.found.place("a", class_name)
        assert isinstance(found, directory.Unplaced)
        return found


async def test_nothing_is_said_before_the_first_lists() -> None:
    world = World()
    assert world.found.is_pending("a")
    assert world.found.clusters("a") == ()
    async with world.running():
        assert not world.found.is_pending("a")
        assert world.api.selectors[RAY].labels == "app.kubernetes.io/managed-by=fairlead"


async def test_clusters_come_get_ready_end_and_go_each_in_its_namespace() -> None:
    async with World().running() as world:
        await world.api.put(RAY, "fast-1", namespace="a")
        await world.api.put(RAY, "fast-1", namespace="b", status=READY)
        (starting,) = world.found.clusters("a")
        assert (starting.url, starting.starting) == (
            "http://fast-1.a",
            "the head of RayCluster fast-1 is not ready yet.",
        )
        assert world.found.clusters("b") == (directory.Cluster(name="fast-1", url="http://fast-1.b"),)
        assert world.found.namespaces() == {"a", "b"}
        world.changed.clear()
        await world.api.put(RAY, "fast-1", namespace="a", status=READY)
        assert world.found.clusters("a")[0].starting is None
        assert set(world.changed) == {"a"}
        await world.api.put(RAY, "fast-1", namespace="a", status=READY, metadata={"deletionTimestamp": "2026-01-01"})
        assert world.found.clusters("a") == ()
        await world.api.remove(RAY, "fast-1", namespace="b")
        assert world.found.clusters("b") == ()
        assert world.found.namespaces() == {"a"}


async def test_a_model_goes_to_the_cluster_of_its_class() -> None:
    async with World().running() as world:
        assert world.unplaced().reason is Reason.NO_SERVING_CLASS
        await world.api.put(CLASSES, "fast", **class_of(default=True))
        await world.api.put(CLASSES, "big", **class_of())
        why = "RayCluster fast-ray1-a of ServingClass fast does not exist yet."
        limits = WorkerLimits(class_name="fast", size=Size(cpu_cores=1, memory_bytes=2**30), most=2)
        assert world.found.place("a", None) == directory.Placement(cluster="fast-ray1-a", awaited=why, limits=limits)
        await world.api.put(RAY, "big-ray1-a", namespace="a", status=READY)
        of_big = dataclasses.replace(limits, class_name="big")
        assert world.found.place("a", "big") == directory.Placement(cluster="big-ray1-a", limits=of_big)
        assert world.found.placements("a") == {"fast-ray1-a", "big-ray1-a"}
        assert world.unplaced("small").message.startswith("ServingClass small does not exist.")


async def test_another_image_is_another_place_and_another_state() -> None:
    async with World().running() as world:
        await world.api.put(CLASSES, "fast", **class_of(default=True))
        before = world.found.state("a")
        assert world.found.state("a") == before
        world.changed.clear()
        await world.api.put(CLASSES, "fast", **class_of("ray:2", default=True))
        found = world.found.place("a", None)
        assert isinstance(found, directory.Placement)
        assert found.cluster == "fast-ray2-a"
        assert world.found.state("a") != before
        assert world.changed == [None]


async def test_a_status_of_a_class_changes_nothing() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    async with World().running() as world:
        await world.api.put(CLASSES, "fast", **class_of(default=True))
        before = world.found.state("a")
        world.changed.clear()
        world.named.clear()
        await world.api.put(CLASSES, "fast", **class_of(default=True), status={"conditions": [condition]})
        assert world.classes.views()["fast"].conditions
        assert world.found.state("a") is before
        assert (world.changed, world.named) == ([], [])


async def test_a_name_is_kept_while_its_class_is_the_same() -> None:
    async with World().running() as world:
        await world.api.put(CLASSES, "fast", **class_of(default=True))
        assert world.found.placements("a") == {"fast-ray1-a"}
        await world.api.put(CLASSES, "fast", **class_of(default=False))
        await world.api.put(CLASSES, "big", **class_of())
        assert world.found.placements("a") == {"fast-ray1-a", "big-ray1-a"}
        assert world.named == ["fast", "big"]


async def test_classes_that_are_listed_are_a_change_also_where_there_is_none() -> None:
    async with World().running() as world:
        assert None in world.changed
        assert world.unplaced().reason is Reason.NO_SERVING_CLASS


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"state": "ready"}, None),
        ({"state": "suspended"}, "is not ready yet."),
        ({"conditions": "x"}, "is not ready yet."),
        (None, "is not ready yet."),
        (
            {"conditions": [{"type": "HeadPodReady", "status": "False", "reason": "ContainersNotReady"}]},
            "is not ready yet: ContainersNotReady",
        ),
        (
            {
                "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota\n"}
                ]
            },
            "is not ready yet: FailedCreate: quota",
        ),
    ],
)
async def test_why_a_head_is_not_ready_is_said_in_words_of_kuberay(status: Any, expected: str | None) -> None:
    body = {"metadata": {"name": "fast-1", "namespace": "a"}, "status": status}

    found = clusters.view_cluster(body).starting
    assert found == (None if expected is None else f"the head of RayCluster fast-1 {expected}")


async def test_what_cannot_be_listed_is_unknown_and_says_why() -> None:
    world = World()
    world.api.failing = {RAY: errors.NotFound("404")}
    async with world.running():
        assert not world.found.is_pending("a")
        found = world.unplaced()
        assert (found.reason, found.message) == (Reason.KUBERAY_MISSING, "The RayCluster CRD is not installed.")
    world = World()
    world.api.failing = {CLASSES: errors.Forbidden("no right")}
    async with world.running():
        assert world.unplaced().message == "Cannot read the ServingClasses: no right. The operator retries."


async def test_a_class_that_cannot_be_read_is_named() -> None:
    async with World().running() as world:
        await world.api.put(CLASSES, "odd", spec={"image": 7})
        found = world.unplaced("odd")
        assert found.reason is Reason.NO_SERVING_CLASS
        assert found.message.startswith("Cannot read ServingClass odd: ")


async def test_each_served_namespace_has_a_watch_of_its_own() -> None:
    world = World("a", "b")
    world.api.failing = {paths.of_kind(infrastructure.RAY_CLUSTER, "b"): errors.Forbidden("no right in b")}
    async with world.running():
        await world.api.put(paths.of_kind(infrastructure.RAY_CLUSTER, "a"), "fast-1", namespace="a", status=READY)
        assert [each.name for each in world.found.clusters("a")] == ["fast-1"]
        assert "no right in b" in str(world.found.place("b", None))
