"""A server on loopback that sends what no HTTP server would: each connection is one call of a function of the test."""

from __future__ import annotations

import itertools
import socket
import socketserver
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

from typing_extensions import override

Play = Callable[["Connection"], None]


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection, whose request was read. What is sent without an end ends with the client or with the test."""

    raw: socket.socket
    request: bytes
    stopped: Event

    @property
    def target(self) -> str:
        return self.request.split(b" ")[1].decode()

    def send(self, content: bytes) -> None:
        self.raw.sendall(content)

    def send_without_end(self, piece: bytes) -> None:
        many = piece * max(1, 65536 // len(piece))
        while not self.stopped.is_set():
            self.raw.sendall(many)

    def drip(self, content: bytes, pause_s: float = 0.02) -> None:
        """A byte at a time, from the start again when it is through."""
        for byte in itertools.cycle(content):
            if self.stopped.wait(pause_s):
                return
            self.raw.sendall(bytes([byte]))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, play: Play, tls: ssl.SSLContext | None) -> None:
        self.play, self.tls, self.stopped, self.count = play, tls, Event(), 0
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    @override
    def handle(self) -> None:
        self.server.count += 1
        with suppress(OSError):  # the client goes away, which is what is hoped for
            raw: socket.socket = self.request
            if self.server.tls is not None:
                raw = self.server.tls.wrap_socket(raw, server_side=True)
            with raw:
                raw.settimeout(20)
                asked = b""
                while b"\r\n\r\n" not in asked and (piece := raw.recv(65536)):
                    asked += piece
                if asked:
                    self.server.play(Connection(raw, asked, self.server.stopped))


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    count_connections: Callable[[], int]


@contextmanager
def serving(play: Play, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """The server, while the block runs."""
    with _Server(play, tls) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield Served(f"{scheme}://127.0.0.1:{server.server_address[1]}", lambda: server.count)
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
