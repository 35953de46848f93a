"""An answer as bytes: head and body in one piece."""

from __future__ import annotations

import email.utils
import itertools
import secrets
import time

from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.protocols.status_codes import PHRASES

REQUEST_ID = b"x-request-id"
REQUEST_ID_BYTES_MAX = 128
_PACKED = b"content-encoding: gzip\r\nvary: accept-encoding\r\n"


class ResponseWriter:
    """Renders answers of one revision; the constant parts of the head are made once."""

    def __init__(self, revision: str) -> None:
        self._lines = {
            code: f"HTTP/1.1 {code} {phrase}\r\nx-fairlead-revision: {revision}\r\n".encode()
            for code, phrase in PHRASES.items()
        }
        self._own_ids = itertools.count()
        self._own_prefix = secrets.token_hex(6)
        self._date_s = 0
        self._date = b""

    def render(self, request: Request, response: Response, *, keep_alive: bool) -> bytes:
        """The whole answer; a HEAD gets the head alone. Repeats the request's id, or gives it one."""
        given = request.headers.get(REQUEST_ID)
        request_id = (
            given
            if given and len(given) <= REQUEST_ID_BYTES_MAX
            else f"{self._own_prefix}-{next(self._own_ids):x}".encode()
        )
        body = response.body if response.packed is None else response.packed
        parts = [
            self._lines[response.status],
            b"content-type: ",
            response.content_type,
            b"\r\nx-request-id: ",
            request_id,
            self._date_line(),
            b"transfer-encoding: chunked\r\n" if response.trailers else b"content-length: %d\r\n" % len(body),
        ]
        if response.packed is not None:
            parts.append(_PACKED)
        for name, value in response.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        if response.trailers:
            parts += _chunked(response)
        elif request.method != "HEAD":
            parts.append(body)
        return b"".join(parts)

    def _date_line(self) -> bytes:
        """A server with a clock says when it answered. Source: RFC 9110, 6.6.1."""
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s, self._date = now_s, email.utils.formatdate(now_s, usegmt=True).encode()
        return b"\r\ndate: %s\r\n" % self._date


def _chunked(response: Response) -> list[bytes]:
    """The body as one chunk, and the trailer fields. Source: RFC 9112, 7.1."""
    parts = [b"%x\r\n" % len(response.body), response.body, b"\r\n0\r\n"]
    for name, value in response.trailers:
        parts += (name, b": ", value, b"\r\n")
    return [*parts, b"\r\n"]
