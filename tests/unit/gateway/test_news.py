"""Who waits for a change is answered when there is one, when time is up, and when the gateway ends."""

from __future__ import annotations

import asyncio

import pytest

from fairlead_gateway import news

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


async def timed(made: news.News, since: str | None, wait_s: float) -> tuple[str, float]:
    began_s = asyncio.get_running_loop().time()
    version = await made.wait(since, wait_s)
    return version, asyncio.get_running_loop().time() - began_s


@pytest.mark.parametrize("since", [None, "", "e-7", "another-0"])
async def test_who_knows_another_version_is_answered_at_once(since: str | None) -> None:
    assert await timed(news.News("e"), since, 5) == ("e-0", 0.0)


async def test_who_knows_this_version_waits_for_the_next_change() -> None:
    made = news.News("e")
    asyncio.get_running_loop().call_later(2, made.note)
    waiting = [asyncio.create_task(timed(made, "e-0", wait_s)) for wait_s in (1, 5, 5)]
    assert [await each for each in waiting] == [("e-0", 1.0), ("e-1", 2.0), ("e-1", 2.0)]
    assert await timed(made, "e-1", 3) == ("e-1", 3.0)


async def test_the_end_of_the_gateway_answers_who_waits() -> None:
    made = news.News("e")
    asyncio.get_running_loop().call_later(1, made.close)
    assert await timed(made, "e-0", 5) == ("e-0", 1.0)
    assert await timed(made, "e-0", 5) == ("e-0", 0.0)


async def test_so_many_are_held_and_no_more() -> None:
    made = news.News("e")
    waiting = [asyncio.create_task(timed(made, "e-0", 5)) for _ in range(news.WAITING_MAX)]
    await asyncio.sleep(1)
    assert await timed(made, "e-0", 5) == ("e-0", 0.0)
    assert {(await each)[1] for each in waiting} == {5.0}
    assert (await timed(made, "e-0", 2))[1] == 2.0
