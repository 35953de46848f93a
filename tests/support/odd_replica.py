"""A replica that is ready and does with each request what a test says: dies, answers oddly, or only keeps the bytes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Act = Callable[[bytes], bytes | None]
"""The raw request, head and body, to the raw answer; None closes the connection without one."""


def answer(body: bytes = b"{}", *, status: str = "200 OK") -> bytes:
    """A whole JSON answer."""
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class OddReplica:
    """`requests` are the raw bytes of everything but health checks."""

    act: Act
    port: int
    requests: list[bytes] = field(default_factory=list)
    _last: socket.socket | None = None

    def serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while (request := _read(connection)) is not None:
                if request.startswith(b"GET /-/healthz/"):
                    connection.sendall(answer())
                    continue
                self._last = connection
                self.requests.append(request)
                raw = self.act(request)
                if raw is None:
                    break
                connection.sendall(raw)

    def is_connected(self) -> bool:
        """Whether the other end of the last request's connection is still open."""
        assert self._last is not None
        try:
            return self._last.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


@contextlib.contextmanager
def odd_replica(act: Act, port: int = 0) -> Iterator[OddReplica]:
    """An odd replica on this port for a with-block."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        made = OddReplica(act=act, port=listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=made.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _read(connection: socket.socket) -> bytes | None:
    data = b""
    while not _is_whole(data):
        chunk = connection.recv(1 << 16)
        if not chunk:
            return None
        data += chunk
    return data


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    if re.search(rb"(?i)\r\ntransfer-encoding:", head):
        return bool(re.search(rb"(\A|\r\n)0+\r\n(.*\r\n)?\r\n\Z", body, re.DOTALL))
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return len(body) >= (int(length[1]) if length else 0)
