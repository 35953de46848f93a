"""A background reader: who asks never waits, and an answer counts only as long as it says something about now."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from fairlead_operator.clients import errors
from fairlead_operator.observe import readers, source

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


class LoopClock:
    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.monotonic_s(), datetime.UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Place:
    """A source whose value a test changes."""

    def __init__(self, *, takes_s: float = 0.01) -> None:
        self.value = 1
        self.takes_s = takes_s
        self.reads: list[float] = []
        self.heard: list[float] = []
        self.is_hot = self.is_judged = False
        pace = readers.Readers(
            clock=LoopClock(), is_hot=lambda _: self.is_hot, is_judged=lambda _: self.is_judged, on_answer=self.hear
        )
        self.source = pace.make_source("ns", self.read)

    def hear(self, _namespace: str) -> None:
        self.heard.append(asyncio.get_running_loop().time())

    async def read(self) -> int:
        self.reads.append(asyncio.get_running_loop().time())
        value = self.value
        await asyncio.sleep(self.takes_s)
        return value

    def reads_since(self, at_s: float) -> int:
        return sum(read_s >= at_s for read_s in self.reads)


async def run(place: Place, for_s: float) -> asyncio.Task[None]:
    task = asyncio.create_task(place.source.run())
    await asyncio.sleep(for_s)
    return task


async def test_an_idle_source_is_read_at_its_interval_and_a_source_in_use_more_often() -> None:
    place = Place()
    task = await run(place, 60)
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert 11 <= place.reads_since(now_s) <= 13
    assert len(place.heard) == 1, "only a change is reported"
    place.is_hot = True
    await asyncio.sleep(10)
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert 28 <= place.reads_since(now_s) <= 32
    place.is_judged = True
    await asyncio.sleep(10)
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert 110 <= place.reads_since(now_s) <= 122, "a replica that is missing for a second is seen"
    task.cancel()


async def test_reads_are_frequent_after_a_change_or_a_request() -> None:
    place = Place()
    task = await run(place, 60)
    for cause in ("hurry", "change"):
        now_s = asyncio.get_running_loop().time()
        if cause == "hurry":
            place.source.hurry()
        else:
            place.value += 1
            await asyncio.sleep(5.1)
            now_s = place.heard[-1]
        await asyncio.sleep(1.5)
        assert place.reads_since(now_s) >= 3
        await asyncio.sleep(30)
    task.cancel()


async def test_after_our_own_write_only_a_request_sent_later_is_used() -> None:
    place = Place(takes_s=1.0)
    task = await run(place, 0.5)
    place.value = 2
    place.source.expire()  # while a request is under way that may not have seen the write
    await asyncio.sleep(0.6)
    assert place.source.latest() == source.PENDING
    await asyncio.sleep(1.0)
    latest = place.source.latest()
    assert isinstance(latest, source.Answer)
    assert latest.value == 2
    assert latest.began_at_s >= 0.5
    task.cancel()


async def test_an_awaited_answer_is_reported_even_if_unchanged() -> None:
    place = Place()
    task = await run(place, 1)
    place.source.expire()
    await asyncio.sleep(1)
    assert len(place.heard) == 2
    task.cancel()


async def test_a_source_that_is_costly_to_parse_is_not_read_back_to_back_while_many_hurry() -> None:
    place = Place()
    place.source.cost_s = lambda: 0.5
    task = await run(place, 1)
    reads = len(place.reads)
    for _ in range(1000):
        place.source.hurry()
        await asyncio.sleep(0.01)
    assert len(place.reads) - reads <= 10 / source.FIRST_INTERVAL_S
    place.source.cost_s = lambda: 0.0
    task.cancel()


async def test_a_hanging_source_becomes_unknown() -> None:
    place = Place()
    task = await run(place, 1)
    place.takes_s = 1e6
    await asyncio.sleep(source.MAX_AGE_S + 10)
    assert isinstance(place.source.latest(), source.TooOld)
    place.source.expire()
    assert place.source.latest() == source.PENDING
    await asyncio.sleep(source.PENDING_MAX_S + 0.1)
    assert isinstance(place.source.latest(), source.TooOld)
    task.cancel()


async def test_an_answer_that_raises_does_not_stop_the_reader(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()

    async def read() -> int:
        if len(place.reads) < 1:
            place.reads.append(0.0)
            raise ZeroDivisionError("a bug")
        return 7

    place.source._read = read  # type: ignore[method-assign]
    task = await run(place, 2)
    latest = place.source.latest()
    assert isinstance(latest, source.Answer)
    assert latest.value == 7
    assert "a bug" in caplog.text
    task.cancel()


class Telling(Place):
    """A source that says itself when it changed, or refuses to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.changed = asyncio.Event()
        self.answers_at_once = self.refuses = self.fails = False
        self.source.await_change = self.wait

    def change(self) -> None:
        self.value += 1
        self.changed.set()

    async def wait(self, wait_s: float) -> bool:
        self.asked.append(wait_s)
        if self.refuses:
            raise errors.Unreachable("no such path")
        if self.fails:
            raise ZeroDivisionError("a bug")
        if self.answers_at_once:
            return False
        try:
            async with asyncio.timeout(wait_s):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


async def test_a_source_that_says_when_it_changed_is_read_then() -> None:
    place = Telling()
    task = await run(place, 60)
    now_s = asyncio.get_running_loop().time()
    place.change()
    await asyncio.sleep(0.2)
    assert place.heard[-1] >= now_s
    assert place.reads_since(now_s) == 1
    task.cancel()


async def test_a_source_that_changes_all_the_time_is_read_after_a_pause_each_time() -> None:
    place = Telling()
    task = await run(place, 60)
    now_s = asyncio.get_running_loop().time()
    for _ in range(1000):
        place.change()
        await asyncio.sleep(0.01)
    assert place.reads_since(now_s) <= 10 / (place.takes_s + source.NEWS_PAUSE_S)
    task.cancel()


@pytest.mark.parametrize("trouble", ["refuses", "fails", "answers_at_once"])
async def test_a_source_that_can_not_say_it_is_read_at_its_interval(trouble: str) -> None:
    place = Telling()
    setattr(place, trouble, True)
    task = await run(place, 60)
    now_s, asked = asyncio.get_running_loop().time(), len(place.asked)
    await asyncio.sleep(60)
    assert 11 <= place.reads_since(now_s) <= 13
    assert len(place.asked) - asked <= 2 * place.reads_since(now_s) + 2
    task.cancel()


async def test_who_hurries_does_not_wait_for_news() -> None:
    place = Telling()
    task = await run(place, 60)
    now_s = asyncio.get_running_loop().time()
    place.source.hurry()
    await asyncio.sleep(0.05)
    assert place.reads_since(now_s) == 1
    task.cancel()
