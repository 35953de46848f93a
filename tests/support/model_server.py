"""A web server on loopback that has one model file, with TLS or without, and that follows a script of faults."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

CONTENT = b"0123456789" * 500


@dataclass
class Web:
    """The script, and what was asked.

    Each request takes the next step: an error's status, how many bytes of the body to send before it breaks off, or
    where to redirect to. Without a step it gets the whole file.
    """

    url: str = ""
    connections: int = 0
    steps: list[int | str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    silent_until: Event | None = None
    drips: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, web: Web, tls: ssl.SSLContext | None) -> None:
        self.web, self.tls = web, tls
        super().__init__(("127.0.0.1", 0), _Answer)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self.web.connections += 1
        if self.tls is None:
            return connection, address
        # The handshake is left to the handler's thread: the client may refuse us.
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what some tests are about."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        web, asked = self.server.web, self.headers.get("range")
        web.ranges.append(asked)
        web.targets.append(self.path)
        web.authorizations.append(self.headers.get("authorization"))
        if web.silent_until is not None:
            web.silent_until.wait(20)
        step = web.steps.pop(0) if web.steps else len(CONTENT)
        if isinstance(step, str):
            self.send_response(302)
            self.send_header("location", step)
            self.end_headers()
        elif 400 <= step < 600:
            self.send_error(step)
        else:
            self._send(asked, step)

    def _send(self, asked: str | None, count: int) -> None:
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("etag", '"1"')
        self.send_header("content-length", str(len(CONTENT) - start))
        if asked:
            self.send_header("content-range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        sent = CONTENT[start : start + count]
        if not self.server.web.drips:
            self.wfile.write(sent)
            return
        for byte in sent:
            self.wfile.write(bytes([byte]))
            Event().wait(0.01)

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Web]:
    """Serves `CONTENT`, with TLS where there is a certificate (PEM, its key in the same file)."""
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    web = Web()
    server = _Server(web, tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/model.keras"
    try:
        yield web
    finally:
        if web.silent_until is not None:
            web.silent_until.set()
        server.shutdown()
        thread.join()
        server.server_close()
