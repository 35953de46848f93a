"""Downloads one file over HTTP: streaming, bounded, resumed when broken off, and never from a metadata service."""

from __future__ import annotations

import http.client
import ipaddress
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from typing_extensions import override

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import is_full

CHUNK_BYTES = 1024 * 1024
ATTEMPTS = 6
_URL_SAFE = "/:@!$&'()*+,;=~?%-._"
REDIRECTS_MAX = 3
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
_PERMANENT = {
    401: LoadReason.MODEL_FORBIDDEN,
    403: LoadReason.MODEL_FORBIDDEN,
    404: LoadReason.MODEL_NOT_FOUND,
    410: LoadReason.MODEL_NOT_FOUND,
}
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Broken(Exception):
    """The attempt failed in a way that another attempt may not."""


def download(
    url: str, into: Path, bounds: Bounds, *, expect: Callable[[int], None], ca_file: Path | None = None
) -> None:
    """Writes the body of `url` to the new file `into`; raises LoadError when it can't be had.

    `expect` hears how many bytes will come, as soon as the server has said so. `ca_file` holds authorities that are
    trusted beside the system's. A full disk is the caller's matter: its OSError is passed on.
    """
    fetch = _Download(url, into, bounds, expect, trust(ca_file))
    last = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret
            time.sleep(max(0.0, min(pause_s, fetch.remaining_s())))
        try:
            fetch.attempt()
        except ssl.SSLCertVerificationError as error:
            # Another attempt gets the same certificate.
            raise LoadError(
                LoadReason.FETCH_FAILED,
                f"{bare_url(url)}: the server's certificate is not trusted: {_describe_failure(error)}",
            ) from None
        except (_Broken, OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            is_silent = isinstance(error, TimeoutError)
            last = f"nothing came for {bounds.idle_s:g} s" if is_silent else str(error) or type(error).__name__
            if fetch.remaining_s() <= 0:
                break
        else:
            return
    raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(url)} could not be read completely: {last}")


class _Download:
    """What is had so far, across attempts."""

    def __init__(
        self, url: str, into: Path, bounds: Bounds, expect: Callable[[int], None], tls: ssl.SSLContext
    ) -> None:
        self._url = url
        self._into = into
        self._bounds = bounds
        self._expect = expect
        self._tls = tls
        self._deadline = time.monotonic() + bounds.total_s
        self._received = 0
        self._validator: str | None = None
        into.touch(exist_ok=False)

    def remaining_s(self) -> float:
        return self._deadline - time.monotonic()

    def attempt(self) -> None:
        url = self._url
        for _ in range(REDIRECTS_MAX + 1):
            target = self._attempt_at(url)
            if target is None:
                return
            url = _follow(url, target)
        raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(self._url)} redirects more than {REDIRECTS_MAX} times")

    def _attempt_at(self, url: str) -> str | None:
        """Reads the body, or returns where the server sends us."""
        parts = urlsplit(url)
        connection = _connect(parts, self._tls, timeout_s=max(0.1, min(self._bounds.idle_s, self.remaining_s())))
        try:
            connection.request("GET", _target(parts), headers=self._headers())
            # Closed by itself: a response that ends with its connection outlives the connection object.
            with connection.getresponse() as response:
                if response.status in (301, 302, 303, 307, 308):
                    return response.headers.get("location") or ""
                self._accept(response)
                self._read(response)
        finally:
            connection.close()
        return None

    def _headers(self) -> Mapping[str, str]:
        headers = {"accept-encoding": "identity", "user-agent": "fairlead-runtime"}
        if self._received and self._validator:
            return {**headers, "range": f"bytes={self._received}-", "if-range": self._validator}
        return headers

    def _accept(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status in _PERMANENT:
            raise LoadError(_PERMANENT[status], f"{bare_url(self._url)} answered {status} {response.reason}")
        if status in _TRANSIENT:
            raise _Broken(f"the server answered {status} {response.reason}")
        resumed = status == 206 and response.headers.get("content-range", "").startswith(f"bytes {self._received}-")
        if status == 206 and not resumed:
            self._validator = None
            raise _Broken("the server sent another byte range than the requested one")
        if status not in (200, 206):
            raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(self._url)} answered {status} {response.reason}")
        if not resumed:
            self._received = 0
        # Only a strong validator may be used with If-Range. Source: RFC 9110, 13.1.5
        etag = response.headers.get("etag", "")
        self._validator = etag if etag and not etag.startswith("W/") else None
        if self._received + (response.length or 0) > self._bounds.bytes_max:
            raise self._too_large()
        self._expect(response.length or 0)

    def _read(self, response: http.client.HTTPResponse) -> None:
        with self._into.open("r+b") as file:
            file.truncate(self._received)
            file.seek(self._received)
            # `read1` returns what has come: a slow server is seen by the deadline, not only by the idle timeout.
            while chunk := response.read1(CHUNK_BYTES):
                self._received += len(chunk)
                if self._received > self._bounds.bytes_max:
                    raise self._too_large()
                file.write(chunk)
                if self.remaining_s() <= 0:
                    raise _Broken(f"the download was not complete after {self._bounds.total_s:g} s")
        if response.length:
            raise _Broken(f"the connection ended {response.length} bytes early")

    def _too_large(self) -> LoadError:
        return LoadError(
            LoadReason.MODEL_TOO_LARGE,
            f"{bare_url(self._url)} is larger than the limit of {self._bounds.bytes_max} bytes",
        )


def _target(parts: SplitResult) -> str:
    """The path and query as they go on the wire: what isn't allowed there is percent-encoded as UTF-8.

    What is encoded already stays as it is, and so does a `%` that begins nothing. Source: RFC 3987, 3.1
    """
    path = quote(parts.path or "/", safe=_URL_SAFE)
    return path + (f"?{quote(parts.query, safe=_URL_SAFE)}" if parts.query else "")


def _follow(url: str, target: str) -> str:
    # The header came as bytes, of which http.client made one character each; servers mean UTF-8 by them.
    with suppress(UnicodeError):
        target = target.encode("latin-1").decode()
    joined = urljoin(url, target)
    if not joined.startswith(("http://", "https://")) or (url.startswith("https://") and joined.startswith("http://")):
        raise LoadError(
            LoadReason.MODEL_FORBIDDEN, f"{bare_url(url)} redirects to {bare_url(joined)}, which is not followed"
        )
    return joined


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whom a fetch believes: the authorities of the system, and those in the file."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # also what OpenSSL says of a file that holds no certificate
            text = f"FAIRLEAD_CA_FILE: {ca_file} holds no certificates that can be read ({error.strerror or error})"
            raise LoadError(LoadReason.CONFIG_INVALID, text) from None
    return context


def _describe_failure(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate, and what helps where its authority is unknown."""
    # 18 to 21: self-signed, or no way to a trusted authority. Source: OpenSSL, x509_vfy.h
    unknown = error.verify_code in (18, 19, 20, 21)
    return error.verify_message.rstrip(".") + ("; FAIRLEAD_CA_FILE can name its authority" if unknown else "")


def _connect(parts: SplitResult, tls: ssl.SSLContext, *, timeout_s: float) -> http.client.HTTPConnection:
    try:
        host, port = parts.hostname, parts.port
        if host:
            host = host if ":" in host else host.encode("idna").decode()
    except ValueError:  # also what a name that IDNA can't write raises
        host = port = None
    if not host:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, "the model's URI has no host, or no valid port")
    if parts.scheme == "https":
        return _CheckedHttpsConnection(host, port or 443, timeout=timeout_s, tls=tls)
    # The port is always given: http.client would look for one in an IPv6 address.
    return _CheckedConnection(host, port or 80, timeout=timeout_s)


def _checked_socket(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to an address that was checked: the name is not resolved a second time."""
    _refuse_forbidden(host, host)
    last: OSError = OSError(f"no address for {host}")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        _refuse_forbidden(host, str(address[0]))
        candidate = socket.socket(family, kind, protocol)
        candidate.settimeout(timeout_s)
        try:
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            last = error
        else:
            return candidate
    raise last


def _refuse_forbidden(host: str, address: str) -> None:
    """Link-local (cloud metadata services live there), multicast and unspecified addresses; a name passes."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip == ipaddress.ip_address("fd00:ec2::254"):
        raise LoadError(
            LoadReason.MODEL_FORBIDDEN,
            f"{host} is a link-local, multicast or otherwise reserved address, which models are never read from",
        )


class _CheckedConnection(http.client.HTTPConnection):
    @override
    def connect(self) -> None:
        self.sock = _checked_socket(self.host, self.port, float(self.timeout or 0))


class _CheckedHttpsConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, *, timeout: float, tls: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=tls)
        self._tls = tls

    @override
    def connect(self) -> None:
        plain = _checked_socket(self.host, self.port, float(self.timeout or 0))
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
