"""A web server on loopback with what a project would publish: it answers ranges, and can break off in the middle."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any


class Published:
    """`files` and `moved` by path, the latter to another; `requests` are the (path, Range header) seen.

    The next answers stop after `cut_after` bytes.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.cut_after: list[int] = []
        self.without_length = False
        self.url = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    published: Published

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.published.requests.append((self.path, wanted))
        if (target := self.published.moved.get(self.path)) is not None:
            self.send_response(302)
            self.send_header("Location", self.published.url + target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.published.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if not self.published.without_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if self.published.cut_after and len(rest) > 100:
            rest = rest[: self.published.cut_after.pop(0)]
        self.wfile.write(rest)
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        return


class RecordingReporter:
    """A reporter that records its steps and bars."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.bars: list[tuple[str, int | None, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def bar(self, text: str, *, total: int | None, done: int = 0, unit: str) -> Any:
        @contextlib.contextmanager
        def opened() -> Iterator[Any]:
            counted = [done]
            yield lambda added: counted.__setitem__(0, counted[0] + added)
            self.bars.append((text, total, counted[0]))

        return opened()


@contextlib.contextmanager
def serving() -> Iterator[Published]:
    """Serve what is put into the value's `files`."""
    content = Published()
    handler = type("Handler", (_Handler,), {"published": content})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    content.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield content
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
