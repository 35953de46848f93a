"""What a full listing has to find, whatever was missed."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Mapping
from typing import Any

import pytest
from typing_extensions import override

from fairlead_operator import health, queue, sweep, telemetry
from fairlead_operator.clients import clock, errors
from fairlead_operator.state import keys


class Reads:
    """An API server with one model."""

    async def list_all(self, _path: str, *, label_selector: str | None = None) -> tuple[list[Any], str]:
        return [{"metadata": {"namespace": "ns", "name": "living", "resourceVersion": "1"}}], "1"


class Namespace:
    """A namespace of two Ray clusters whose route table is as given."""

    clusters = ("a", "b")

    def __init__(self, routes: Mapping[str, str] | None) -> None:
        self._routes = routes

    async def routes(self, _max_age_s: float) -> Mapping[str, str]:
        if self._routes is None:
            raise errors.Unreachable("the API server is away")
        return self._routes


async def resynced(routes: Mapping[str, str] | None) -> set[keys.Key]:
    """The keys that a new process's first listing queues."""
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    await make(work, routes).resync("ns", ("ns",))
    return {key for _ in range(len(work)) if (key := await work.take()) is not None}


def make(work: queue.KeyedQueue[keys.Key], routes: Mapping[str, str] | None, reads: Reads | None = None) -> sweep.Sweep:
    return sweep.Sweep(
        work,
        reads or Reads(),  # type: ignore[arg-type]  # only what a listing asks
        lambda _: Namespace(routes),  # type: ignore[arg-type,return-value]  # likewise
        watched=health.WatchLedger(clock=clock.SystemClock()),
        metrics=telemetry.Metrics(),
        clock=clock.SystemClock(),
    )


async def test_a_route_whose_model_was_forced_away_before_this_process_began_is_looked_at() -> None:
    assert keys.ModelKey("ns", "forced") in await resynced({"living": "{}", "forced": "{}"})


async def test_a_listed_model_and_every_ray_cluster_of_its_namespace_are_looked_at() -> None:
    assert {keys.ModelKey("ns", "living"), keys.RayKey("ns", "a"), keys.RayKey("ns", "b")} <= await resynced({})


async def test_an_unreadable_route_table_is_reported_after_everything_else_was_queued() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    with pytest.raises(errors.FairleadError):
        await make(work, None).resync("ns", ("ns",))
    assert len(work) == 3


class Partly(Reads):
    """An API server that lists one namespace and forbids another."""

    @override
    async def list_all(self, path: str, *, label_selector: str | None = None) -> tuple[list[Any], str]:
        if "/namespaces/forbidden/" in path:
            raise errors.Forbidden("403")
        return await super().list_all(path)


@pytest.mark.looptime
async def test_a_forbidden_namespace_does_not_stop_the_listing_of_another() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    reads = Partly()
    made = make(work, {}, reads)
    tasks = [
        asyncio.create_task(
            sweep.repeat(name, functools.partial(made.resync, name), every_s=300.0, rng=random.Random(1))
        )
        for name in ("forbidden", "ns")
    ]
    queued = 0
    for _ in range(10):
        await asyncio.sleep(330)
        while len(work):
            key = await work.take()
            assert key is not None
            queued += isinstance(key, keys.ModelKey)
            work.done(key)
    assert queued >= 9, "each listing brought the model of the namespace that may be read"
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()


@pytest.mark.looptime
async def test_only_a_change_of_what_is_asked_for_overrides_the_delay_of_a_model_that_fails() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    made = make(work, {})
    model, ray = keys.ModelKey("ns", "living"), keys.RayKey("ns", "a")
    made.notice(model, "generation 1")
    await work.take()
    work.done(model)
    for key in (model, ray):
        await fail(work, key)
    made.notice(model, "generation 1")
    made.notice(model)
    work.add_after(ray, 0.05)
    await asyncio.sleep(0.5)
    assert len(work) == 0
    made.notice(model, "generation 2")
    work.add_after(ray, 0.05)
    await asyncio.sleep(0.1)
    assert {await work.take(), await work.take()} == {model, ray}


async def fail(work: queue.KeyedQueue[keys.Key], key: keys.Key) -> None:
    work.add(key)
    assert await work.take() == key
    work.add_failed(key)
    work.done(key)
