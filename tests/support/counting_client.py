"""The counting client for tests, and a server that misbehaves on order to prove that it counts right."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fairlead_cli.load import Background, Failure, Kind, Report, Settings, background, run

__all__ = [
    "GOOD_BODY",
    "Background",
    "Failure",
    "HostileServer",
    "Kind",
    "Report",
    "Request",
    "Settings",
    "background",
    "hostile_server",
    "run",
]

GOOD_BODY = b'{"model_name":"digits","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.25,0.75]}]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server read: the number of the request over all connections and on this one, from 0."""

    number: int
    number_on_connection: int
    id: str
    body: bytes


@dataclass(slots=True)
class HostileServer:
    """``act`` answers each request by writing what it likes; requests are kept in the order they were read."""

    act: Callable[[Request, asyncio.StreamWriter], object]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        on_connection = 0
        try:
            while not writer.is_closing():
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(int(_header(head, "content-length")))
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                request = Request(
                    number=len(self.requests),
                    number_on_connection=on_connection,
                    id=_header(head, "x-request-id"),
                    body=body,
                )
                on_connection += 1
                self.requests.append(request)
                outcome = self.act(request, writer)
                if asyncio.iscoroutine(outcome):
                    await outcome
        finally:
            writer.close()


@asynccontextmanager
async def hostile_server(act: Callable[[Request, asyncio.StreamWriter], object]) -> AsyncIterator[HostileServer]:
    """A server on a free loopback port for a with-block."""
    hostile = HostileServer(act=act)
    server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0)
    hostile.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield hostile
    finally:
        server.close()


def answer(
    body: bytes = GOOD_BODY, *, status: str = "200 OK", headers: tuple[str, ...] = ("x-fairlead-revision: aaaaaaaaaa",)
) -> bytes:
    """A whole answer's bytes."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection with a RST in place of a FIN."""
    held: socket.socket = writer.get_extra_info("socket")
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _header(head: bytes, name: str) -> str:
    found = re.search(rb"(?i)\r\n" + name.encode() + rb":\s*([^\r]*)", head)
    return found.group(1).decode() if found else ""
