"""Who waits is queued when its own part of the world changes, and costs nothing until then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.hand_clock import HandClock

from fairlead_operator import queue, waiting
from fairlead_operator.state import keys

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]
A, B = keys.ModelKey("ns", "a"), keys.ModelKey("ns", "b")
RAY = keys.RayKey("ns", "default")


class Namespace:
    """The parts of the world, by model and cluster."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.has_unknown = False
        self.pending = False
        self.hurried = 0
        self.compared: list[str] = []

    def is_pending(self) -> bool:
        return self.pending

    def hurry(self) -> None:
        self.hurried += 1

    def world(self) -> Any:
        return self

    def hash_model(self, model: str, *, is_hot: bool = False) -> bytes:
        self.compared.append(model)
        return self.parts.get(model, b"")

    def hash_ray(self, cluster: str) -> bytes:
        return self.parts.get(cluster, b"")


class Place:
    def __init__(self) -> None:
        self.work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
        self.namespace = Namespace()
        self.clock = HandClock()
        namespaces: Any = lambda _: self.namespace  # noqa: E731 - all are one
        self.waits = waiting.Waiting(self.work, namespaces, clock=self.clock)

    async def changed(self) -> set[keys.Key]:
        """What is queued after an answer."""
        self.waits.on_answer("ns")
        await asyncio.sleep(0)
        taken = {key for _ in range(len(self.work)) if (key := await self.work.take()) is not None}
        for key in taken:
            self.waits.take(key)  # a pass begins
            self.work.done(key)
        return taken


def held(evidence: bytes = b"", *, is_hot: bool = False, is_judged: bool = False) -> waiting.Held:
    return waiting.Held(evidence=evidence, is_hot=is_hot, is_judged=is_judged)


async def test_only_the_key_whose_own_part_changed_is_queued() -> None:
    place = Place()
    for key in (A, B, RAY):
        place.waits.hold(key, held())
    assert await place.changed() == set()
    place.namespace.parts["a"] = b"other"
    assert await place.changed() == {A}
    assert await place.changed() == set(), "once"
    place.namespace.parts["default"] = b"other"
    assert await place.changed() == {RAY}


async def test_a_change_of_what_is_one_model_s_alone_compares_no_other() -> None:
    place = Place()
    for key in (A, B):
        place.waits.hold(key, held())
    place.waits.on_model(A)
    place.waits.on_model(keys.ModelKey("ns", "of-nobody"))
    assert (place.namespace.compared, len(place.work)) == (["a"], 0)
    place.namespace.parts = {"a": b"other", "b": b"other"}
    place.waits.on_model(A)
    assert (place.namespace.compared, len(place.work)) == (["a", "a"], 1)


async def test_several_answers_in_one_turn_cause_one_comparison() -> None:
    place = Place()
    place.waits.hold(A, held())
    place.namespace.parts["a"] = b"other"
    for _ in range(100):
        place.waits.on_answer("ns")
    await asyncio.sleep(0)
    assert len(place.work) == 1


async def test_a_parked_key_is_queued_with_the_awaited_answer_or_after_a_moment() -> None:
    place = Place()
    place.namespace.pending = True
    place.waits.park(A)
    assert place.waits.is_hot("ns")
    assert await place.changed() == set()
    place.namespace.pending = False
    assert await place.changed() == {A}
    assert not place.waits.is_hot("ns")
    place.waits.park(A)
    await asyncio.sleep(waiting.PARKED_MAX_S + 0.1)
    assert len(place.work) == 1


async def test_idle_models_are_queued_for_a_lasting_read_failure_and_not_for_a_short_one() -> None:
    place = Place()
    place.waits.hold(A, held())
    place.waits.hold(B, held(is_hot=True))
    place.namespace.has_unknown = True
    place.namespace.parts = {"a": b"unknown", "b": b"unknown"}
    assert await place.changed() == {B}
    place.namespace.has_unknown = False
    place.namespace.parts["a"] = b""
    assert await place.changed() == set()
    place.namespace.has_unknown = True
    place.namespace.parts["a"] = b"unknown"
    assert await place.changed() == set()
    place.clock.seconds += waiting.BLINK_S
    await asyncio.sleep(waiting.BLINK_S + 0.2)
    assert len(place.work) == 1, "nobody had to say so again"


async def test_a_namespace_is_measured_while_one_of_its_models_is() -> None:
    place = Place()
    place.waits.hold(A, held())
    place.waits.hold(B, held(is_judged=True))
    assert place.waits.is_judged("ns")
    place.waits.take(B)
    assert not place.waits.is_judged("ns")


async def test_a_namespace_is_polled_often_while_a_key_waits_for_progress() -> None:
    place = Place()
    place.waits.hold(A, held())
    assert not place.waits.is_hot("ns")
    place.waits.hold(A, held(is_hot=True))
    place.waits.hold(B, held(is_hot=True))
    place.waits.take(A)
    assert place.waits.is_hot("ns")
    place.waits.touch(B)
    assert not place.waits.is_hot("ns")
    assert len(place.waits) == 0
