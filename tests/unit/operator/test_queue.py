"""The queue under virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from fairlead_operator import queue

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


class Recorder:
    """A handler that notes when it began which key, and takes its time."""

    def __init__(self, *, takes_s: float = 0.0) -> None:
        self.began: list[tuple[float, str]] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self._takes_s = takes_s

    async def __call__(self, key: str) -> float | None:
        self.began.append((asyncio.get_running_loop().time(), key))
        self.at_once[key] += 1
        self.most_at_once[key] = max(self.most_at_once[key], self.at_once[key])
        await asyncio.sleep(self._takes_s)
        self.at_once[key] -= 1
        return None

    @property
    def keys(self) -> list[str]:
        return [key for _, key in self.began]


async def run(work: queue.KeyedQueue[str], handler: Recorder, *, workers: int = 1, for_s: float = 1000.0) -> None:
    tasks = [asyncio.create_task(queue.work(work, handler)) for _ in range(workers)]
    await asyncio.sleep(for_s)
    work.close()
    await asyncio.gather(*tasks)


async def test_a_key_added_several_times_is_taken_once() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    for _ in range(100):
        work.add("a")
    handler = Recorder()
    await run(work, handler)
    assert handler.keys == ["a"]


async def test_keys_are_taken_in_turn() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    for key in ("a", "b", "a", "c", "b"):
        work.add(key)
    handler = Recorder()
    await run(work, handler)
    assert handler.keys == ["a", "b", "c"]


async def test_a_key_added_during_its_work_is_taken_once_more_afterwards() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    handler = Recorder(takes_s=10)
    tasks = [asyncio.create_task(queue.work(work, handler)) for _ in range(4)]
    work.add("a")
    await asyncio.sleep(1)
    for _ in range(5):
        work.add("a")
    await asyncio.sleep(100)
    work.close()
    await asyncio.gather(*tasks)
    assert handler.keys == ["a", "a"]
    assert handler.most_at_once["a"] == 1


async def test_workers_take_different_keys_at_the_same_time() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    for key in "abcdef":
        work.add(key)
    handler = Recorder(takes_s=10)
    await run(work, handler, workers=3)
    assert [round(at_s) for at_s, _ in handler.began] == [0, 0, 0, 10, 10, 10]


async def test_a_delayed_key_is_taken_at_its_earliest_date() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    work.add_after("a", 50)
    work.add_after("a", 20)
    work.add_after("a", 90)
    handler = Recorder()
    await run(work, handler)
    assert [round(at_s) for at_s, _ in handler.began] == [20]


async def test_an_event_does_not_wait_for_the_date_of_its_key() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    work.add_after("a", 50)
    work.add("a")
    handler = Recorder()
    await run(work, handler)
    assert [round(at_s) for at_s, _ in handler.began] == [0], "and the pass has answered the later date too"


async def test_each_key_has_its_own_growing_backoff() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    delays = [work.add_failed("bad") for _ in range(12)]
    assert 0.8 <= delays[0] <= 1.2
    assert all(0.8 * wanted <= delay <= 1.2 * wanted for wanted, delay in zip((1, 2, 4, 8), delays, strict=False))
    assert max(delays) <= 300 * 1.2
    assert work.add_failed("good") <= 1.2
    work.succeeded("bad")
    assert work.add_failed("bad") <= 1.2


async def test_a_failing_key_does_not_delay_the_others() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    seen: list[tuple[float, str]] = []

    async def handle(key: str) -> float | None:
        seen.append((asyncio.get_running_loop().time(), key))
        if key == "bad":
            work.add_failed(key)
            return None
        return 10.0

    task = asyncio.create_task(queue.work(work, handle))
    for key in ("bad", "good"):
        work.add(key)
    await asyncio.sleep(101)
    work.close()
    await task
    good = [round(at_s) for at_s, key in seen if key == "good"]
    assert good == list(range(0, 101, 10))
    assert sum(key == "bad" for _, key in seen) <= 8


async def test_a_closed_queue_returns_nothing_and_ends_its_workers() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    handler = Recorder(takes_s=5)
    task = asyncio.create_task(queue.work(work, handler))
    for key in ("a", "b"):
        work.add(key)
    await asyncio.sleep(1)
    work.close()
    await task
    assert handler.keys == ["a"], "the step in hand is finished, the next one not begun"


async def test_dates_of_many_keys_are_kept_apart() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue()
    rng = random.Random(7)
    wanted = {f"key-{number}": rng.uniform(1, 500) for number in range(300)}
    for key, delay_s in wanted.items():
        work.add_after(key, delay_s)
    handler = Recorder()
    await run(work, handler)
    assert {key: round(at_s) for at_s, key in handler.began} == {key: round(at_s) for key, at_s in wanted.items()}


@pytest.mark.parametrize("ask", ["add", "add_after"])
async def test_only_a_change_of_the_object_overrides_the_delay_of_a_failing_key(ask: str) -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    seen: list[float] = []

    async def handle(key: str) -> float | None:
        seen.append(asyncio.get_running_loop().time())
        work.add_failed(key)
        return None

    task = asyncio.create_task(queue.work(work, handle))
    work.add("bad")
    while asyncio.get_running_loop().time() < 200:
        await asyncio.sleep(0.25)
        if ask == "add":
            work.add("bad")
        else:
            work.add_after("bad", 0.05)
    assert len(seen) <= 9, "1, 2, 4, 8 … seconds apart"
    before = len(seen)
    work.add_now("bad")
    await asyncio.sleep(0.01)
    assert len(seen) == before + 1
    await asyncio.sleep(60)
    assert len(seen) == before + 1, "the next delay goes on growing"
    work.close()
    await task


async def test_a_key_added_during_a_failing_pass_waits_for_its_delay() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    seen: list[float] = []

    async def handle(key: str) -> float | None:
        seen.append(asyncio.get_running_loop().time())
        work.add(key)
        work.add_failed(key)
        return None

    task = asyncio.create_task(queue.work(work, handle))
    work.add("bad")
    await asyncio.sleep(100)
    assert len(seen) <= 8
    work.close()
    await task


async def test_a_requested_pause_lengthens_the_delay_and_the_first_delay_can_be_shorter() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    assert work.add_failed("asked", least_s=30.0) == 30.0
    delays = [work.add_failed("conflict", first_s=0.2) for _ in range(6)]
    assert all(
        0.8 * wanted <= delay <= 1.2 * wanted
        for wanted, delay in zip((0.2, 0.4, 0.8, 1.6, 3.2, 6.4), delays, strict=True)
    )
    work.succeeded("conflict")
    assert work.add_failed("conflict", first_s=0.2) < 0.3


async def test_a_change_during_a_failing_pass_is_handled_at_once() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(rng=random.Random(1))
    seen: list[float] = []

    async def handle(key: str) -> float | None:
        seen.append(asyncio.get_running_loop().time())
        if len(seen) == 1:
            work.add_now(key)
        work.add_failed(key)
        return None

    task = asyncio.create_task(queue.work(work, handle))
    work.add("bad")
    await asyncio.sleep(0.5)
    assert len(seen) == 2
    work.close()
    await task


async def test_lanes_take_turns_and_a_hanging_lane_leaves_workers_to_the_others() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(lane_of=lambda key: key[0], lane_limit=2)
    began: dict[str, float] = {}

    async def handle(key: str) -> float | None:
        began[key] = asyncio.get_running_loop().time()
        if key.startswith("h"):
            await asyncio.sleep(100)
        return None

    for number in range(50):
        work.add(f"h{number}")
    tasks = [asyncio.create_task(queue.work(work, handle)) for _ in range(4)]
    await asyncio.sleep(1)
    for number in range(50):
        work.add(f"b{number}")
    work.add("c0")
    await asyncio.sleep(1)
    assert len([key for key in began if key.startswith("h")]) == 2
    assert len([key for key in began if key.startswith("b")]) == 50
    assert began["c0"] == 1.0, "fifty keys of another lane that came first don't delay it"
    await asyncio.sleep(200)
    assert len([key for key in began if key.startswith("h")]) == 6
    work.close()
    for task in tasks:
        task.cancel()


async def test_a_lane_exceeds_its_share_only_while_others_have_enough_workers() -> None:
    work: queue.KeyedQueue[str] = queue.KeyedQueue(lane_of=lambda key: key[0], lane_limit=2, lane_max=4, busy_max=6)
    began: list[str] = []

    async def handle(key: str) -> float | None:
        began.append(key[0])
        await asyncio.sleep(1e6)
        return None

    tasks = [asyncio.create_task(queue.work(work, handle)) for _ in range(8)]
    for lane in "abcd":
        for number in range(10):
            work.add(f"{lane}{number}")
        await asyncio.sleep(1)
    assert Counter(began) == {"a": 4, "b": 2, "c": 2}
    assert began[:4] == ["a"] * 4
    work.close()
    for task in tasks:
        task.cancel()
