"""A proxy on loopback for a library that makes its own connections: each goes where `outbound` lets it, or nowhere.

What passes counts in the fetch's allowance, in both directions: a listing can have pages without an end.

It lives as long as one fetch. It has no password: a process that can reach it is on the same machine and can connect by
itself, and the library leaves a password out when it follows a redirect.
"""

from __future__ import annotations

import selectors
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit

from typing_extensions import override

from fairlead_runtime.errors import LoadError
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.outbound import Outbound

CHUNK_BYTES = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024


class GuardedProxy:
    """Where it listens, and the refusal that a connection met: the library that asked can't say it in our words."""

    def __init__(self, outbound: Outbound, allowance: Allowance, *, has_credentials: bool) -> None:
        self.refusal: LoadError | None = None
        self._outbound = outbound
        self._allowance = allowance
        self._idle_s = allowance.bounds.idle_s
        self._has_credentials = has_credentials
        self._server = _Server(self)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, client: socket.socket) -> None:
        """One connection, while the fetch lasts."""
        with self._allowance.ending(client):
            self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """Its first request says where it leads to."""
        client.settimeout(self._idle_s)
        head, rest = _read_head(client)
        lines = head.decode("latin-1").split("\r\n")
        method, _, target = lines[0].rpartition(" ")[0].partition(" ")
        is_tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if is_tunnel else target)
        if not parts.hostname or (not is_tunnel and parts.scheme != "http"):
            _refuse(client, 400)
            return
        try:
            server = self._connect(parts.hostname, parts.port or 80, is_tls=is_tunnel)
        except LoadError as error:
            self.refusal = error
            _refuse(client, 403)
            return
        except (OSError, ValueError):
            _refuse(client, 502)
            return
        with server, self._allowance.ending(server):
            if is_tunnel:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                server.sendall(rest)
            else:
                server.sendall(_at_origin(method, target, lines) + rest)
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        """Until one side ends, or both are silent; raises LoadError when the fetch must end."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, (client, server))
            selector.register(server, selectors.EVENT_READ, (server, client))
            while ready := selector.select(self._idle_s):
                for key, _ in ready:
                    side, other = key.data
                    count = side.recv_into(buffer)
                    if not count:
                        return
                    self._allowance.take(count)
                    other.sendall(buffer[:count])

    def _connect(self, host: str, port: int, *, is_tls: bool) -> socket.socket:
        server = self._outbound.connect(host, port, is_tls=is_tls, timeout_s=self._idle_s)
        try:
            if self._has_credentials and not is_tls:
                self._outbound.check_credentials_in_clear(str(server.getpeername()[0]), f"http://{host}:{port}")
        except BaseException:
            server.close()
            raise
        return server


@contextmanager
def guarding(outbound: Outbound, allowance: Allowance, *, has_credentials: bool) -> Iterator[GuardedProxy]:
    """The proxy, while the block runs. With credentials, only listed networks are asked without TLS."""
    proxy = GuardedProxy(outbound, allowance, has_credentials=has_credentials)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: GuardedProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    @override
    def handle(self) -> None:
        # A side that went away ends the connection, which is all that the other one has to know. Why the fetch ended
        # is in its allowance.
        with suppress(OSError, LoadError):
            self.server.proxy.answer(self.request)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    taken = b""
    while b"\r\n\r\n" not in taken:
        piece = client.recv(CHUNK_BYTES)
        if not piece or len(taken) > HEAD_BYTES_MAX:
            raise OSError("the request's head broke off")
        taken += piece
    head, _, rest = taken.partition(b"\r\n\r\n")
    return head, rest


def _at_origin(method: str, target: str, lines: list[str]) -> bytes:
    """The request as the server itself takes it; one for each connection, as the next may be for another host."""
    parts = urlsplit(target)
    path = target.split(parts.netloc, 1)[1]
    path = path if path.startswith("/") else f"/{path}"
    ours = ("proxy-connection", "connection")
    kept = [line for line in lines[1:] if _name(line) not in ours]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")


def _name(line: str) -> str:
    return line.partition(":")[0].strip().lower()


def _refuse(client: socket.socket, status: int) -> None:
    client.sendall(f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
