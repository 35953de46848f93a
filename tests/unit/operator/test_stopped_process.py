"""A real process that is stopped for longer than its Lease: not one byte of a write leaves it afterwards."""

from __future__ import annotations

import asyncio
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from aiohttp import web
from tests.support import lease_holder
from tests.support.http_thread import HttpThread
from tests.support.until import until

from fairlead_operator import election

EXIT_DEADLINE_S = 30
TURNS = 5
ESTABLISHED = "01"


def queued_bytes(port: int) -> int:
    """What the kernel holds that was sent to a loopback port: not yet acknowledged, or not yet read there.

    Source: https://docs.kernel.org/networking/proc_net_tcp.html
    """
    queued = 0
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        to_send, to_read = queues.split(":")
        if state == ESTABLISHED and remote.endswith(f":{port:04X}"):
            queued += int(to_send, 16)
        if state == ESTABLISHED and local.endswith(f":{port:04X}"):
            queued += int(to_read, 16)
    return queued


class Server:
    """A Lease, small writes that are answered at once, and one large write that is read as slowly as the test says."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.renewed_at_s = 0.0
        self.small = 0
        self.large_bytes = 0
        self.is_large_under_way = False
        self._may_read = asyncio.Event()
        self.thread = HttpThread(self._application)

    def read_on(self) -> None:
        self.thread.run(self._may_read.set)

    def has_read_all(self) -> bool:
        """Whether no byte is on its way here: none in a socket of either side, and none that a handler has to take."""
        for _ in range(TURNS):
            if queued_bytes(self.thread.port):
                return False
            self.thread.run(int)  # the handlers have their turn before this returns
        return True

    def _application(self) -> web.Application:
        application = web.Application()
        name = election.LeaseName(namespace="n", name="l")
        application.router.add_get(name.path, self._get)
        application.router.add_post(name.collection, self._put)
        application.router.add_put(name.path, self._put)
        application.router.add_patch(lease_holder.SMALL, self._small)
        application.router.add_patch(lease_holder.LARGE, self._large)
        return application

    async def _get(self, _request: web.Request) -> web.Response:
        return web.json_response(self.lease or {"reason": "NotFound"}, status=200 if self.lease else 404)

    async def _put(self, request: web.Request) -> web.Response:
        self.lease = await request.json()
        self.lease["metadata"]["resourceVersion"] = "1"
        self.renewed_at_s = time.monotonic()
        return web.json_response(self.lease)

    async def _small(self, _request: web.Request) -> web.Response:
        self.small += 1
        return web.json_response({})

    async def _large(self, request: web.Request) -> web.Response:
        self.is_large_under_way = True
        try:
            async for chunk in request.content.iter_any():
                self.large_bytes += len(chunk)
                self.arrived_at_s = time.monotonic()
                await self._may_read.wait()
        except ConnectionResetError:
            pass  # the process has ended
        finally:
            self.is_large_under_way = False
        return web.json_response({})


def test_a_process_that_was_stopped_past_its_lease_sends_nothing_more() -> None:
    server = Server()
    server.thread.start()
    holder = subprocess.Popen([sys.executable, "-m", "tests.support.lease_holder", server.thread.url])
    try:
        until(lambda: server.small > 20 and server.is_large_under_way, "the writes are under way")
        holder.send_signal(signal.SIGSTOP)
        until(
            lambda: time.monotonic() - server.renewed_at_s > lease_holder.DURATION_S,
            "another process may hold the Lease",
        )
        server.read_on()  # the large write's socket can be written to again
        until(server.has_read_all, "all that had left the process has arrived")
        arrived = (server.small, server.large_bytes)
        assert server.is_large_under_way, "a part of it is still in the stopped process"
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(EXIT_DEADLINE_S) == 1
        assert (server.small, server.large_bytes) == arrived
    finally:
        holder.kill()
        holder.wait()
        server.thread.stop()
