"""A connection for one HTTP request: only to where models may be read from, ended with the fetch, all bytes counted."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult

from typing_extensions import Buffer, override

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.outbound import Outbound


@contextmanager
def connecting(
    parts: SplitResult, tls: ssl.SSLContext, outbound: Outbound, allowance: Allowance
) -> Iterator[Connection]:
    """An open connection to where the URL leads, if models may be read from there."""
    try:
        host, port = parts.hostname, parts.port
        if host:
            host = host if ":" in host else host.encode("idna").decode()
    except ValueError:  # also what a name that IDNA can't write raises
        host = port = None
    if not host:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, "the model's URI has no host, or no valid port")
    is_tls = parts.scheme == "https"
    port = port or (443 if is_tls else 80)
    timeout_s = max(0.1, min(allowance.bounds.idle_s, allowance.left_s()))
    with outbound.connect(host, port, is_tls=is_tls, timeout_s=timeout_s) as connected:
        if not is_tls:
            yield Connection(host, port, connected)
            return
        secured = tls.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
        with secured:
            with allowance.ending(secured):
                secured.do_handshake()
            yield Connection(host, port, secured)


class Connection(http.client.HTTPConnection):
    """Over a socket that is connected, and no other one."""

    auto_open = 0

    def __init__(self, host: str, port: int, connected: socket.socket) -> None:
        # The port is always given: http.client would look for one in an IPv6 address.
        super().__init__(host, port)
        self.sock = connected
        self.peer = str(connected.getpeername()[0])


class Response(http.client.HTTPResponse):
    """Counts every received byte, also heads, frames of chunks and trailers, which http.client does not bound."""

    def __init__(self, connection: socket.socket, allowance: Allowance) -> None:
        super().__init__(connection, method="GET")
        self.fp.close()
        self.fp = io.BufferedReader(_Counted(connection, allowance))


class _Counted(io.RawIOBase):
    """The bytes of a connection, each counted when it comes."""

    def __init__(self, connection: socket.socket, allowance: Allowance) -> None:
        self._raw = connection.makefile("rb", buffering=0)
        self._allowance = allowance

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int | None:
        count = self._raw.readinto(buffer)
        self._allowance.take(count or 0)
        return count

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()
