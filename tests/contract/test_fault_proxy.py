"""The fault proxy passes on what it shall and breaks what it shall: each fault as the operator's client meets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from tests.faults.proxy import HELD_S, FaultProxy
from tests.faults.script import START, Kind, Point, Script
from tests.support.http_thread import HttpThread

STATUS_PATH = "/apis/fairlead.dev/v1alpha1/namespaces/n/modeldeployments/m/status"
WATCH_PATH = "/apis/fairlead.dev/v1alpha1/namespaces/n/modeldeployments"
EVENTS, EVERY_S = 100, 0.02
SECOND = Point(write="status", nth=2)


@dataclass
class Upstream:
    """Counts what reaches it; its watch sends events one after the other."""

    reached: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        if request.method != "GET":
            self.reached.append(request.raw_path)
        return web.json_response({"path": request.raw_path, "body": (await request.read()).decode()})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(EVENTS):
            await response.write(json.dumps({"number": number}).encode() + b"\n")
            await asyncio.sleep(EVERY_S)
        return response


@dataclass
class Stage:
    upstream: Upstream
    script: Script
    url: str
    kills: list[float]


@pytest.fixture
def stage() -> Iterator[Stage]:
    upstream, kills = Upstream(), list[float]()
    server = HttpThread(upstream.application)
    server.start()
    script = Script(kill=lambda: kills.append(time.monotonic()))
    with FaultProxy("api", server.url, script) as proxy:
        yield Stage(upstream=upstream, script=script, url=proxy.url, kills=kills)
    server.stop()


async def patch(stage: Stage, *, timeout_s: float = 60) -> tuple[int, str, str | None]:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.patch(stage.url + STATUS_PATH, data=b"{}") as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Retry-After")


async def test_a_write_that_is_no_fault_point_passes_unchanged_and_is_recorded(stage: Stage) -> None:
    stage.script.arm(SECOND, Kind.ERROR)
    async with aiohttp.ClientSession() as session:
        query = "labelSelector=a%3Db&limit=5"
        async with session.get(f"{stage.url}/api/v1/namespaces/n/x?{query}") as answer:
            assert (await answer.json())["path"] == f"/api/v1/namespaces/n/x?{query}"
    assert (await patch(stage))[0] == 200
    assert [(write.name, write.code) for write in stage.script.writes] == [("status", 200)]
    assert not stage.script.reached.is_set()


@pytest.mark.parametrize(
    ("kind", "code"), [(Kind.CONFLICT, 409), (Kind.BUSY, 429), (Kind.ERROR, 500), (Kind.UNAVAILABLE, 503)]
)
async def test_a_code_is_answered_once_and_nothing_reaches_the_server(stage: Stage, kind: Kind, code: int) -> None:
    stage.script.arm(SECOND, kind)
    answers = [await patch(stage) for _ in range(3)]
    assert [answer[0] for answer in answers] == [200, code, 200]
    assert answers[1][2] == ("1" if kind is Kind.BUSY else None)
    assert len(stage.upstream.reached) == 2
    assert stage.script.reached.is_set()


@pytest.mark.parametrize(
    ("kind", "arrives"),
    [
        (Kind.DROP_BEFORE, False),
        (Kind.DROP_AFTER, True),
        (Kind.CUT, True),
        (Kind.KILL_BEFORE, False),
        (Kind.KILL_AFTER, True),
    ],
)
async def test_a_lost_answer_leaves_it_open_whether_the_write_happened(stage: Stage, kind: Kind, arrives: bool) -> None:
    stage.script.arm(SECOND, kind)
    await patch(stage)
    with pytest.raises(aiohttp.ClientError):
        await patch(stage)
    assert len(stage.upstream.reached) == 1 + arrives
    assert stage.script.writes[-1].happened is arrives
    assert len(stage.kills) == (kind in (Kind.KILL_BEFORE, Kind.KILL_AFTER))


async def test_the_successor_of_a_killed_operator_can_be_killed_too(stage: Stage) -> None:
    stage.script.arm(SECOND, Kind.KILL_TWICE)
    arrived = []
    for _ in range(6):
        try:
            await patch(stage)
            arrived.append(True)
        except aiohttp.ClientError:
            arrived.append(False)
    assert arrived == [True, False, True, True, False, True]
    assert len(stage.kills) == 2


@pytest.mark.parametrize(("kind", "arrives"), [(Kind.HANG_BEFORE, False), (Kind.HANG_AFTER, True)])
async def test_a_hanging_answer_lasts_until_the_client_gives_up(stage: Stage, kind: Kind, arrives: bool) -> None:
    stage.script.arm(SECOND, kind)
    await patch(stage)
    with pytest.raises(TimeoutError):
        await patch(stage, timeout_s=1.5)
    assert len(stage.upstream.reached) == 1 + arrives
    assert (await patch(stage))[0] == 200


async def watch(stage: Stage, struck_with: Kind | None = None) -> tuple[list[int], float]:
    """Events until the stream ends, struck after the third of them; and the longest silence between two."""
    numbers: list[int] = []
    silence_s, last_s = 0.0, time.monotonic()
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
        session.get(f"{stage.url}{WATCH_PATH}?watch=true") as answer,
    ):
        async for line in answer.content:
            numbers.append(json.loads(line)["number"])
            silence_s, last_s = max(silence_s, time.monotonic() - last_s), time.monotonic()
            if numbers[-1] == 2 and struck_with is not None:
                stage.script.arm(START, struck_with)
    return numbers, silence_s


async def test_watch_events_are_streamed_at_once(stage: Stage) -> None:
    numbers, silence_s = await watch(stage)
    assert numbers == list(range(EVENTS))
    assert silence_s < EVENTS * EVERY_S, "they did not come all at the end"


async def test_a_watch_can_be_cut(stage: Stage) -> None:
    with pytest.raises(aiohttp.ClientError):
        await watch(stage, Kind.WATCH_CUT)


async def test_watch_events_can_be_delayed(stage: Stage) -> None:
    numbers, silence_s = await watch(stage, Kind.WATCH_HELD)
    assert numbers == list(range(EVENTS))
    assert silence_s > HELD_S / 2


async def test_watch_events_can_be_lost_while_the_stream_lives(stage: Stage) -> None:
    numbers, _ = await watch(stage, Kind.WATCH_LOST)
    assert numbers == list(range(len(numbers)))
    assert 3 <= len(numbers) < EVENTS


async def test_reads_fail_as_often_as_configured_and_writes_do_not(stage: Stage) -> None:
    stage.script.arm(START, Kind.API_READS)
    codes = []
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.get(f"{stage.url}/api/v1/namespaces/n/configmaps/c") as answer:
                codes.append(answer.status)
    assert codes == [503, 503, 503, 200, 200]
    assert (await patch(stage))[0] == 200
