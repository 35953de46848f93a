"""No write is sent, and none goes on, once another process may hold the Lease."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from tests.support.http_thread import HttpThread

from fairlead_operator.clients import clock, errors, http


@dataclasses.dataclass
class Lease:
    seconds: float

    has_run_out: bool = False

    def remaining_s(self) -> float:
        return self.seconds


class Server:
    """Counts requests by method, and answers none of them while it hangs."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.hangs = False
        self.thread = HttpThread(self._application)

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        self.methods.append(request.method)
        if self.hangs:
            await asyncio.sleep(3600)
        return web.Response(text="{}")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.thread.start()
    yield made
    made.thread.stop()


@pytest.fixture
def lease() -> Lease:
    return Lease(15.0)


@pytest.fixture
async def client(lease: Lease) -> AsyncIterator[http.HttpClient]:
    made = http.HttpClient(clock=clock.SystemClock(), lease=lease)
    yield made
    await made.close()


async def send(client: http.HttpClient, server: Server, method: str, **fields: object) -> None:
    request = http.Request(method=method, url=server.thread.url + "/", answer_bytes_max=1000, **fields)  # type: ignore[arg-type]
    await client.send(request, who="the server", on_request=lambda *_: None)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_is_not_sent_when_too_little_of_the_lease_is_left(
    client: http.HttpClient, server: Server, lease: Lease, method: str
) -> None:
    lease.seconds = http.WRITE_LEAST_S + http.WRITE_MARGIN_S - 0.1
    with pytest.raises(errors.RetryLater, match="Lease"):
        await send(client, server, method)
    assert server.methods == []
    lease.seconds += 0.2
    await send(client, server, method)
    assert server.methods == [method]


async def test_a_write_that_must_not_be_given_up_early_needs_all_its_time(
    client: http.HttpClient, server: Server, lease: Lease
) -> None:
    lease.seconds = 10.0
    with pytest.raises(errors.RetryLater):
        await send(client, server, "PUT", least_s=10.0)
    assert server.methods == []


async def test_reads_and_predictions_need_no_lease(client: http.HttpClient, server: Server, lease: Lease) -> None:
    lease.seconds = 0.0
    await send(client, server, "GET")
    await send(client, server, "POST", is_write=False)
    assert server.methods == ["GET", "POST"]


async def test_a_write_is_given_up_before_another_process_may_hold_the_lease(
    client: http.HttpClient, server: Server, lease: Lease
) -> None:
    server.hangs = True
    lease.seconds = 2.5 + http.WRITE_MARGIN_S
    with pytest.raises(errors.Unreachable, match=r"no answer within 2\.5 s"):
        await send(client, server, "PATCH", timeout_s=3600.0)


async def test_no_byte_leaves_a_process_whose_lease_has_run_out(
    client: http.HttpClient, server: Server, lease: Lease
) -> None:
    await send(client, server, "PATCH")
    lease.has_run_out = True  # the process was stopped after the request had been allowed
    with pytest.raises(errors.Unreachable):
        await send(client, server, "PATCH")
    assert server.methods == ["PATCH"]


async def test_writes_under_way_are_counted(client: http.HttpClient, server: Server) -> None:
    server.hangs = True
    writing = asyncio.create_task(send(client, server, "PATCH"))
    reading = asyncio.create_task(send(client, server, "GET"))
    while len(server.methods) < 2:
        await asyncio.sleep(0.01)
    assert client.writes_under_way == 1
    for task in (writing, reading):
        task.cancel()
    await asyncio.gather(writing, reading, return_exceptions=True)
    assert client.writes_under_way == 0


async def test_a_host_name_that_cannot_be_resolved_is_said_so_without_the_name(client: http.HttpClient) -> None:
    request = http.Request(method="GET", url="http://no-such-host.invalid/api", answer_bytes_max=1)
    with pytest.raises(errors.Unreachable) as raised:
        await client.send(request, who="Ray", on_request=lambda *_: None)
    assert raised.value.cause == "the host name could not be resolved"
