"""What a full listing has to find, whatever was missed."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from typing_extensions import override

from fairlead_operator import composition, health, queue, sweep, telemetry, waiting
from fairlead_operator.clients import clock, errors
from fairlead_operator.state import keys


class Reads:
    """An API server with one model."""

    async def list_pages(self, path: str) -> AsyncIterator[Any]:
        yield {"items": [{"metadata": {"namespace": "ns", "name": "living", "resourceVersion": "1"}}]}


class Namespace:
    """A namespace of two Ray clusters whose route table is as given."""

    clusters = ("a", "b")

    def __init__(self, routes: Mapping[str, str] | None) -> None:
        self._routes = routes

    def routes(self) -> Mapping[str, str] | None:
        return self._routes


async def resynced(routes: Mapping[str, str] | None) -> set[keys.Key]:
    """The keys that a new process's first listing queues."""
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    await make(work, routes).resync("ns", ("ns",))
    return {key for _ in range(len(work)) if (key := await work.take()) is not None}


def make(work: queue.KeyedQueue[keys.Key], routes: Mapping[str, str] | None, reads: Reads | None = None) -> sweep.Sweep:
    namespaces: Any = lambda _: Namespace(routes)  # noqa: E731 - only what a listing asks
    system = clock.SystemClock()
    listing: Any = reads or Reads()
    return sweep.Sweep(
        work=work,
        reads=listing,
        namespaces=namespaces,
        waits=waiting.Waiting(work, namespaces, clock=system),
        composed=composition.Composition(),
        watched=health.WatchLedger(clock=system),
        metrics=telemetry.Metrics(),
        clock=system,
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
    async def list_pages(self, path: str) -> AsyncIterator[Any]:
        if "/namespaces/forbidden/" in path:
            raise errors.Forbidden("403")
        async for page in super().list_pages(path):
            yield page


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
    made.notice(model, intent="generation 1")
    await work.take()
    work.done(model)
    for key in (model, ray):
        await fail(work, key)
    made.notice(model, intent="generation 1")
    made.notice(model)
    work.add_after(ray, 0.05)
    await asyncio.sleep(0.5)
    assert len(work) == 0
    made.notice(model, intent="generation 2")
    work.add_after(ray, 0.05)
    await asyncio.sleep(0.1)
    assert {await work.take(), await work.take()} == {model, ray}


async def fail(work: queue.KeyedQueue[keys.Key], key: keys.Key) -> None:
    work.add(key)
    assert await work.take() == key
    work.add_failed(key)
    work.done(key)


async def test_a_model_that_waits_with_the_listed_version_needs_no_pass_but_in_each_full_round() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    made = make(work, {})
    model = keys.ModelKey("ns", "living")
    passes = 0
    for round_ in range(2 * sweep.FULL_ROUNDS):
        await made.resync("ns")
        while len(work):
            key = await work.take()
            assert key is not None
            passes += key == model
            made.waits.take(key)
            if key == model:
                made.waits.hold(key, waiting.Held(evidence=b"", version="1"))
            work.done(key)
        assert passes == 1 + round_ // sweep.FULL_ROUNDS
    made.waits.hold(model, waiting.Held(evidence=b"", version="0"))
    await made.resync("ns")
    assert len(work) == 3, "it has another version than its last pass ended with"


async def test_our_own_write_that_the_watch_brings_back_needs_no_pass() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    made = make(work, {})
    model = keys.ModelKey("ns", "living")
    made.waits.hold(model, waiting.Held(evidence=b"", version="7"))
    made.notice(model, version="7", intent="generation 1")
    assert len(work) == 0
    made.notice(model, version="8", intent="generation 1")
    assert len(work) == 1
