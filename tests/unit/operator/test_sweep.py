"""What a full listing has to find, whatever was missed."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from typing_extensions import override

from fairlead_operator import composition, health, queue, sweep, telemetry, waiting
from fairlead_operator.clients import clock, errors
from fairlead_operator.state import keys, knowledge, route
from fairlead_operator.state.gateways import Gateways, GatewaySeen


class Reads:
    """An API server with one model."""

    async def list_pages(self, path: str) -> AsyncIterator[Any]:
        yield {"items": [{"metadata": {"namespace": "ns", "name": "living", "resourceVersion": "1"}}]}


class Namespace:
    """A namespace of two Ray clusters whose route table is as given."""

    clusters = ("a", "b")

    def __init__(self, routes: Mapping[str, str] | None, *gateways: GatewaySeen) -> None:
        self._routes = routes
        self._seen = Gateways(members=gateways)
        self.pending = 0

    def gateways(self) -> knowledge.Known[Gateways]:
        return knowledge.Known(self._seen)

    def is_pending(self) -> bool:
        return self.pending > 0

    def routes(self) -> Mapping[str, str] | None:
        return self._routes


async def resynced(routes: Mapping[str, str] | None, *gateways: GatewaySeen) -> set[keys.Key]:
    """The keys that a new process's first listing queues."""
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    await make(work, routes, gateways=gateways).resync("ns", ("ns",))
    return {key for _ in range(len(work)) if (key := await work.take()) is not None}


def make(
    work: queue.KeyedQueue[keys.Key],
    routes: Mapping[str, str] | None,
    reads: Reads | None = None,
    gateways: tuple[GatewaySeen, ...] = (),
    on_listed: Callable[[str | None], None] = lambda _: None,
) -> sweep.Sweep:
    namespaces: Any = lambda _: Namespace(routes, *gateways)  # noqa: E731 - only what a listing asks
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
        on_listed=on_listed,
    )


async def test_a_route_left_by_a_forced_deletion_before_the_start_is_queued() -> None:
    assert keys.ModelKey("ns", "forced") in await resynced({"living": "{}", "forced": "{}"})


async def test_a_model_known_only_to_a_gateway_is_queued() -> None:
    live = {
        "forced": route.RouteLive(version="v", revisions={}),
        "done": route.RouteLive(version="v", revisions={}, is_retired=True),
    }
    seen = GatewaySeen(name="a", view=knowledge.Known(route.GatewayView(id="a", routes=live)))
    unread = GatewaySeen(name="b", view=knowledge.Unknown("it timed out"))
    found = await resynced({}, unread, seen)
    assert keys.ModelKey("ns", "forced") in found
    assert keys.ModelKey("ns", "done") not in found


async def test_listed_models_and_the_ray_clusters_of_their_namespace_are_queued() -> None:
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


async def test_a_watch_may_start_once_the_models_are_queued_or_cannot_be_listed() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    seen: list[tuple[str | None, bool]] = []

    def note(namespace: str | None) -> None:
        seen.append((namespace, len(work) > 0))

    made = make(work, {}, Partly(), on_listed=note)
    with pytest.raises(errors.Forbidden):
        await made.resync("forbidden")
    await made.resync("ns")
    assert seen == [("forbidden", False), ("ns", True)]


@pytest.mark.looptime
async def test_only_a_changed_intent_overrides_the_delay_of_a_failing_model() -> None:
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


async def test_a_waiting_model_of_the_listed_version_is_queued_only_in_full_rounds() -> None:
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


async def test_the_watch_event_of_our_own_write_queues_nothing() -> None:
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    made = make(work, {})
    model = keys.ModelKey("ns", "living")
    made.waits.hold(model, waiting.Held(evidence=b"", version="7"))
    made.notice(model, version="7", intent="generation 1")
    assert len(work) == 0
    made.notice(model, version="8", intent="generation 1")
    assert len(work) == 1


async def test_a_listed_object_is_not_used_once_a_newer_one_a_deletion_or_a_pass_is_known() -> None:
    model = keys.ModelKey("ns", "living")

    async def listed() -> sweep.Sweep:
        made = make(queue.KeyedQueue(), {})
        await made.resync("ns")
        return made

    assert (await listed()).take_listed(model) is not None
    newer = await listed()
    newer.notice(model, version="2", intent="generation 2")
    assert newer.take_listed(model) is None
    deleted = await listed()
    deleted.notice(model)
    assert deleted.take_listed(model) is None
    passed = await listed()
    passed.composed.put(model, {})
    assert passed.take_listed(model) is None


class Slow(Reads):
    """An API server whose page is older than what happens while it is on its way."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    @override
    async def list_pages(self, path: str) -> AsyncIterator[Any]:
        self.asked.set()
        await self.may_answer.wait()
        async for page in super().list_pages(path):
            yield page


async def test_a_page_older_than_a_seen_version_is_not_used() -> None:
    model = keys.ModelKey("ns", "living")
    for is_gone in (False, True):
        reads = Slow()
        made = make(queue.KeyedQueue(), {}, reads)
        listing = asyncio.create_task(made.resync("ns"))
        await reads.asked.wait()
        made.notice(model, version="2", intent="generation 2")
        if is_gone:
            made.begin_read(model)
            made.composed.remove(model)
            made.note_gone(model)
        reads.may_answer.set()
        await listing
        assert made.take_listed(model) is None
        assert made.is_outdated(model, "1")


async def test_a_version_is_outdated_until_the_object_is_read_again() -> None:
    made = make(queue.KeyedQueue(), {})
    model = keys.ModelKey("ns", "living")
    assert not made.is_outdated(model, "9")
    made.notice(model, version="10", intent="generation 2")
    assert made.is_outdated(model, "9")
    assert not made.is_outdated(model, "10")
    made.notice(model)
    assert made.is_outdated(model, "10"), "a deletion names no version"
    made.begin_read(model)
    assert not made.is_outdated(model, "10")
