"""One connection's bytes as requests, with the limits on their parts. Knows no sockets and no time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote

import httptools

from fairlead_runtime.errors import RequestReason
from fairlead_runtime.protocols.http import Request
from fairlead_runtime.server.limits import ServerLimits

MEBIBYTE = 1024 * 1024
_JOINED_FIELDS = frozenset({b"traceparent", b"tracestate"})
_UPGRADE_FIELDS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Sink(Protocol):
    """What takes the requests of a connection, in order."""

    def take(self, request: Request, *, keep_alive: bool) -> None:
        """A whole request."""
        ...

    def refuse(self, reason: RequestReason, sentence: str) -> None:
        """What came is no request that is served; nothing of the connection is parsed any more."""
        ...

    def begin_body(self, headers: Mapping[bytes, bytes]) -> None:
        """A head is complete; the sink may refuse it."""
        ...

    def invite_body(self) -> None:
        """The client waits for a sign before it sends the body."""
        ...


class RequestParser:
    """Feeds a sink. Once it has refused, it takes nothing more."""

    def __init__(self, limits: ServerLimits, peer: str, sink: Sink) -> None:
        self._limits = limits
        self._peer = peer
        self._sink = sink
        self._parser = httptools.HttpRequestParser(self)
        self._is_over = False
        self.is_within_message = False
        self._begin_message()

    @property
    def is_within_body(self) -> bool:
        return self.is_within_message and self._has_head

    def feed(self, data: bytes) -> None:
        if self._is_over:
            return
        self._field_bytes += len(data)
        # Checked on raw bytes too: the parser itself collects a header, or a trailer field, of any length.
        if self._field_bytes > self._limits.head_bytes_max + MEBIBYTE:
            self._refuse_fields()
            return
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self._refuse(RequestReason.MALFORMED, "the request is not valid HTTP/1.1")

    def _parse(self, data: bytes) -> bytes:
        """Parses all of the data, or up to a request that asks for another protocol; returns what is left."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_over:
                return b""
            rest = data[upgrade.args[0] :]
            head = self._head_without_upgrade()
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)
            return rest
        return b""

    def _head_without_upgrade(self) -> bytes:
        """The head of the request, to be parsed once more. A server may ignore Upgrade. Source: RFC 9110, 7.8.

        The parser takes the end of such a head for the end of HTTP, and what follows for another protocol's.
        """
        version = self._parser.get_http_version().encode()
        kept = {name: value for name, value in self._headers.items() if name not in _UPGRADE_FIELDS}
        kept[b"connection"] = b"keep-alive" if self._parser.should_keep_alive() else b"close"
        fields = b"".join(b"%s: %s\r\n" % field for field in kept.items())
        return b"%s %s HTTP/%s\r\n%s\r\n" % (self._parser.get_method(), self._url, version, fields)

    def end(self) -> None:
        """Nothing more is parsed."""
        self._is_over = True
        self._body.clear()

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        self._begin_message()
        self.is_within_message = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes_max:
            self._refuse(RequestReason.URL_TOO_LONG, f"the URL has more than {self._limits.url_bytes_max} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_count > self._limits.headers_max or self._header_bytes > self._limits.head_bytes_max:
            self._refuse_fields()
            return
        # Trailer fields arrive here as well. They count against the head's bound and are dropped: none of ours may
        # be in a trailer, and merged into the headers they would bypass every check of those.
        # Source: RFC 9110, 6.5.1
        if self._has_head:
            return
        key = name.lower()
        if key in self._headers:
            value = self._repeated(key, value)
        self._headers[key] = value

    def _repeated(self, key: bytes, value: bytes) -> bytes:
        """What a field that occurs more than once is taken for: its last value, or all where order has a meaning."""
        if key == b"host":
            # Source: RFC 9112, 3.2
            self._refuse(RequestReason.MALFORMED, "the Host header occurs twice")
        if key in _JOINED_FIELDS:
            # Source: RFC 9110, 5.3. Two traceparents make one that isn't valid, as Trace Context asks.
            return b"%s,%s" % (self._headers[key], value)
        return value

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._is_over or self._is_upgrade():
            return
        headers = self._headers
        self._sink.begin_body(headers)
        if self._is_over:
            return
        if b"host" not in headers and self._parser.get_http_version() == "1.1":
            self._refuse(RequestReason.MALFORMED, "the Host header is missing")
            return
        length = headers.get(b"content-length")
        if length is not None and (len(length) > 18 or int(length) > self._limits.body_bytes_max):
            self._refuse_body()
            return
        expects = headers.get(b"expect")
        if expects is None:
            return
        if expects.lower() != b"100-continue":
            self._refuse(RequestReason.EXPECTATION, "Expect: only 100-continue is supported")
        else:
            self._sink.invite_body()

    def on_body(self, body: bytes) -> None:
        if self._is_over:
            return
        self._field_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes_max:
            self._refuse_body()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.is_within_message = False
        if self._is_over or self._is_upgrade():
            return
        parser = self._parser
        path = _path_of(self._url).decode("latin-1")
        request = Request(
            method=parser.get_method().decode("latin-1"),
            path=unquote(path) if "%" in path else path,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
            peer=self._peer,
        )
        self._body.clear()
        self._sink.take(request, keep_alive=parser.should_keep_alive())

    def _is_upgrade(self) -> bool:
        """Whether this head is parsed again. CONNECT asks for another protocol as well, and nothing else."""
        if not self._parser.should_upgrade():
            return False
        if self._parser.get_method() == b"CONNECT":
            self._refuse(RequestReason.MALFORMED, "CONNECT is not supported: this server is no proxy")
        return True

    # Ends

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._field_bytes = 0
        self._has_head = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    def _refuse_body(self) -> None:
        self._refuse(
            RequestReason.TOO_LARGE, f"the body is larger than the limit of {self._limits.body_bytes_max} bytes"
        )

    def _refuse_fields(self) -> None:
        self._refuse(RequestReason.HEADERS_TOO_LARGE, "the request has too many or too large headers or trailers")

    def _refuse(self, reason: RequestReason, sentence: str) -> None:
        if not self._is_over:
            self.end()
            self._sink.refuse(reason, sentence)


def _path_of(target: bytes) -> bytes:
    """The path of a request target, also in absolute form, which a server has to take. Source: RFC 9112, 3.2.2."""
    path = target.partition(b"?")[0]
    if path.startswith(b"/"):
        return path
    _scheme, is_absolute, rest = path.partition(b"://")
    _authority, slash, path_below = rest.partition(b"/")
    return slash + path_below or b"/" if is_absolute else path
