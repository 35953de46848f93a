"""A TCP relay that can keep back what a server sends, so that its client acts as one that has not heard it yet."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

_BYTES = 1 << 16


class Relay:
    """Connections to `port` here are connections to the server. What clients send goes on at all times."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._is_open = threading.Event()
        self._is_open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self.sent_bytes: list[int] = []
        """What the client of each connection has sent, and the server has got."""

    def keep_back(self) -> None:
        """Keep back what the server sends from now on."""
        self._is_open.clear()

    def let_go(self) -> None:
        """Deliver what was kept back, and all that follows."""
        self._is_open.set()

    def accept(self) -> None:
        """Relay each connection, until the relay is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except ConnectionRefusedError:
                    client.close()
                    continue
                self._sockets += [client, server]
                self.sent_bytes.append(0)
                number = len(self.sent_bytes) - 1
                threading.Thread(target=self._send, args=(client, server, number), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self.let_go()
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _send(self, client: socket.socket, server: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_BYTES):
                server.sendall(data)
                self.sent_bytes[number] += len(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_BYTES):
                self._is_open.wait()
                client.sendall(data)
            self._is_open.wait()
            client.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay_to(server_port: int) -> Iterator[Relay]:
    """A relay to a port of this machine."""
    made = Relay(server_port)
    threading.Thread(target=made.accept, daemon=True).start()
    try:
        yield made
    finally:
        made.close()
