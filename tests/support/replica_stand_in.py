"""A replica without a model: the real node directory, the contract's health and draining, and answers that say who
gave them.

Run as a program it is one real process, so that it can be killed like one. Its last line says what it served.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import signal
import socket
import sys
from typing import cast

import uvloop
from typing_extensions import override

from fairlead_runtime import config
from fairlead_runtime.discovery import entry, member

SHOWN = (
    "x-fairlead-revision",
    "x-fairlead-shadow",
    "x-fairlead-shadow-copy",
    "x-fairlead-shadow-more",
    "traceparent",
    "tracestate",
)
"""Request headers that an answer repeats."""

UNTIL = "x-until-exists"
"""The header with the path of a file, before which there is no answer."""
POLL_S = 0.02

QUIET_S = 1.0
"""How long no prediction may have come before the port is closed."""

HEALTHY_S = 2.5
LISTENS_S = 5.0
"""From the beginning of the drain: until health answers 404, and until the port is closed though predictions come."""


class Replica:
    """The state that its connections share. `health` is the status that its health path answers with."""

    def __init__(self, *, model: str, revision: str, delay_s: float) -> None:
        self.model = model
        self.revision = revision
        self.name = entry.make_name(revision)
        self.delay_s = delay_s
        self.port = 0
        self.is_draining = False
        self.has_drained_long = False
        self.in_flight = 0
        self.served = 0
        self.served_after_drain = 0
        self.marked = 0

    def health(self, path: str) -> int:
        if not path.endswith(f"/{self.name}"):
            return 410
        return 404 if self.has_drained_long else 200

    def end_health(self) -> None:
        self.has_drained_long = True

    def counts(self) -> bytes:
        return json.dumps({"served": self.served, "marked": self.marked}).encode()

    def answer(self, path: str, headers: dict[str, str], body_bytes: int) -> bytes:
        self.served += 1
        self.marked += "x-fairlead-shadow" in headers
        self.served_after_drain += self.is_draining
        return json.dumps(
            {
                "model_name": self.model,
                "outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}],
                "revision": self.revision,
                "replica": self.name,
                "port": self.port,
                "path": path,
                "received": body_bytes,
                "headers": {name: value for name, value in headers.items() if name in SHOWN},
                "names": sorted(headers),
            }
        ).encode()


class Connection(asyncio.Protocol):
    """Requests with a content-length, one after the other."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
            }
            whole = end + 4 + int(headers.get("content-length", 0))
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            self._take(head.split(" ", 2)[1], headers, whole - end - 4)

    def _take(self, path: str, headers: dict[str, str], body_bytes: int) -> None:
        if path.startswith("/-/healthz/"):
            self._send(self._replica.health(path), b"{}")
            return
        if path == f"/-/measurements/{self._replica.name}":
            # It counts nothing that an analysis would read.
            self._send(200, json.dumps({"instance": self._replica.name}).encode())
            return
        if path == "/-/counts":
            self._send(200, self._replica.counts())
            return
        if headers.get("x-fairlead-replica", self._replica.name) != self._replica.name:
            self._send(425, b"{}")
            return
        self._replica.in_flight += 1
        if UNTIL in headers:
            self._finish_once_there(path, headers, body_bytes)
            return
        delay_s = float(headers.get("x-delay-s", self._replica.delay_s))
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._finish, path, headers, body_bytes)
        else:
            self._finish(path, headers, body_bytes)

    def _finish_once_there(self, path: str, headers: dict[str, str], body_bytes: int) -> None:
        if pathlib.Path(headers[UNTIL]).exists():
            self._finish(path, headers, body_bytes)
        else:
            asyncio.get_running_loop().call_later(POLL_S, self._finish_once_there, path, headers, body_bytes)

    def _finish(self, path: str, headers: dict[str, str], body_bytes: int) -> None:
        self._replica.in_flight -= 1
        self._send(200, self._replica.answer(path, headers, body_bytes))

    def _send(self, status: int, body: bytes) -> None:
        close = "connection: close\r\n" if self._replica.is_draining else ""
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{close}content-length: {len(body)}\r\n\r\n"
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(head.encode() + body)
        if self._replica.is_draining:
            self._transport.close()


async def serve(replica: Replica, joined: member.Member, bound: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(replica), sock=bound)
    replica.port = bound.getsockname()[1]
    await asyncio.to_thread(
        joined.announce,
        entry.Replica(
            name=replica.name,
            namespace="default",
            model=replica.model,
            revision=replica.revision,
            port=replica.port,
        ),
    )
    print(json.dumps({"name": replica.name, "port": replica.port}), flush=True)
    await stop.wait()
    # Source: docs/contracts.md, "Draining".
    await asyncio.to_thread(joined.drain)
    replica.is_draining = True
    loop.call_later(HEALTHY_S, replica.end_health)
    began, seen = loop.time(), -1
    while (replica.in_flight or seen != replica.served) and loop.time() - began < LISTENS_S:
        seen = replica.served
        await asyncio.sleep(QUIET_S)
    server.close()
    while replica.in_flight:
        await asyncio.sleep(0.02)
    await asyncio.to_thread(joined.leave)
    print(json.dumps({"served": replica.served, "servedAfterDrain": replica.served_after_drain}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    replica = Replica(model=options.model, revision=options.revision, delay_s=options.delay)
    node = config.node_environment()
    joined = member.Member(node)
    bound = socket.create_server((node.replica_host, 0), backlog=1024)
    uvloop.run(serve(replica, joined, bound))


if __name__ == "__main__":
    main()
    sys.exit(0)
