"""Which worker pods of a Ray cluster don't run yet, and what those without a node wait for."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.support import fake_watches
from tests.support.fake_watches import FakeWatches
from tests.support.hand_clock import HandClock

from fairlead_operator.api import names
from fairlead_operator.clients import errors, paths
from fairlead_operator.observe.directory import worker_pods
from fairlead_operator.state.workers import WorkerPods

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

PODS = paths.pods(None)
WORKERS = WorkerPods(wanted=3, most=4)
FULL = (
    "0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/2 nodes are available: 2 No "
    "preemption victims found for incoming pod."
)


def unscheduled(since: str = "2026-01-02T12:03:07Z", message: str = FULL) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"conditions": [{**condition, "lastTransitionTime": since}]}


def pod(cluster: str = "small-1", **more: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {names.LABEL_CLUSTER: cluster}, **more}}


def pending(api: FakeWatches, changed: list[str | None] | None = None) -> worker_pods.PendingWorkers:
    note = (changed if changed is not None else []).append
    return worker_pods.PendingWorkers(api, (), clock=HandClock(), on_change=note)


async def test_pods_are_counted_by_whether_they_have_a_node() -> None:
    api, changed = FakeWatches(), list[str | None]()
    found = pending(api, changed)
    async with fake_watches.running(found.run()):
        await api.put(PODS, "one", namespace="a", status={}, **pod())
        await api.put(PODS, "two", namespace="a", status=unscheduled("2026-01-02T12:09:00Z", "later"), **pod())
        await api.put(PODS, "three", namespace="a", status=unscheduled(), **pod())
        await api.put(PODS, "other", namespace="a", status=unscheduled(), **pod("big-1"))
        await api.put(PODS, "four", namespace="b", status=unscheduled(), **pod())
        await api.put(PODS, "five", namespace="a", status={}, **pod(deletionTimestamp="2026-01-02T12:03:07Z"))
        assert set(changed) >= {"a", "b"}
        assert found.count("a", "small-1", WORKERS) == WorkerPods(
            wanted=3,
            most=4,
            starting=1,
            unscheduled=2,
            unscheduled_since=datetime.datetime(2026, 1, 2, 12, 3, 7, tzinfo=datetime.UTC),
            reason="0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory",
        )
        for name in ("one", "two", "three"):
            await api.remove(PODS, name, namespace="a")
        assert found.count("a", "small-1", WORKERS) == WORKERS


async def test_only_workers_that_do_not_run_are_read() -> None:
    api = FakeWatches()
    async with fake_watches.running(pending(api).run()):
        selector = api.selectors[PODS]
        assert selector.fields == "status.phase=Pending"
        assert selector.labels is not None
        assert "ray.io/node-type=worker" in selector.labels


async def test_pods_that_can_not_be_listed_hold_up_nothing() -> None:
    api = FakeWatches()
    api.failing[PODS] = errors.Forbidden("no")
    found = pending(api)
    async with fake_watches.running(found.run()):
        assert found.count("a", "small-1", WORKERS) == WORKERS


@pytest.mark.parametrize(
    "status", [None, "odd", {"conditions": "odd"}, {"conditions": ["odd", {"type": "PodScheduled", "status": "True"}]}]
)
async def test_an_odd_status_is_that_of_a_pod_that_starts(status: Any) -> None:
    assert worker_pods.view_pod({"status": status, **pod()}) == worker_pods.PendingPod(cluster="small-1")


async def test_a_time_that_can_not_be_read_is_that_of_the_pod() -> None:
    body = {"status": unscheduled("odd"), **pod(creationTimestamp="2026-01-02T12:00:00Z")}
    found = worker_pods.view_pod(body)
    assert found.unscheduled_since == datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.UTC)
