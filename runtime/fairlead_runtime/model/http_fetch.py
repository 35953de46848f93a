"""Downloads one file over HTTP: streaming, bounded, resumed when broken off, and only from where models may be read."""

from __future__ import annotations

import base64
import dataclasses
import http
import http.client
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model.cache import is_full
from fairlead_runtime.model.fetching import credentials
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.http_connection import Response, connecting
from fairlead_runtime.model.fetching.purposes import MODELS, Purpose
from fairlead_spans import trust as trust_files

CHUNK_BYTES = 1024 * 1024
ATTEMPTS = 6
TAG_CHARS_MAX = 256
CHALLENGE_CHARS_MAX = 4096
JSON_BYTES_MAX = 4 * 1024 * 1024
"""As objects of Python it takes up to 25 times as much memory."""
TARGET_CHARS_MAX = 200
"""What of a redirect's target is shown."""
_URL_SAFE = "/:@!$&'()*+,;=~?%-._"
REDIRECTS_MAX = 3
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
_PERMANENT = {
    400: LoadReason.MODEL_NOT_FOUND,
    403: LoadReason.MODEL_FORBIDDEN,
    404: LoadReason.MODEL_NOT_FOUND,
    410: LoadReason.MODEL_NOT_FOUND,
}
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnauthorizedError(LoadError):
    """The server at the address `peer` wants credentials, or other ones; `challenge` is the header that says which.

    What came of the body by earlier attempts counts no longer.
    """

    def __init__(self, reason: LoadReason, sentence: str, challenge: str = "", peer: str = "") -> None:
        super().__init__(reason, sentence)
        self.challenge = challenge
        self.peer = peer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Headers of a request. Without an `authorization` it has that of the model's Secret."""

    accept: str | None = None
    authorization: str | None = None

    def with_accept(self, accept: str) -> Asking:
        return dataclasses.replace(self, accept=accept)


DEFAULT = Asking()


class _Broken(Exception):
    """The attempt failed in a way that another attempt may not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What is called during a download; either may end it with a LoadError.

    `expect` gets how many bytes will come, as soon as the server has said so, and `count` those that came: fewer than 0
    for bytes that are read again. More than `bytes_max` are refused; without it, the bound of a model holds.
    """

    expect: Callable[[int], None] = lambda _: None
    count: Callable[[int], None] = lambda _: None
    bytes_max: int | None = None


def download(
    url: str, into: Path, allowance: Allowance, access: Access, listener: Listener, asking: Asking = DEFAULT
) -> None:
    """Writes the body of `url` to the file `into`; raises LoadError when it can't be had.

    A full disk is the caller's matter: its OSError is passed on.
    """
    last = ""
    fetch = _Download(url, into, allowance, access, listener, asking)
    for attempt in range(ATTEMPTS):
        if attempt:
            pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret
            time.sleep(min(pause_s, allowance.left_s()))
            allowance.check(last)
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
            allowance.check(last)  # What the deadline ended says nothing of the server.
            last = _describe(error, allowance)
        else:
            return
    raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(url)} could not be read completely: {last}")


class _Download:
    """What is had so far, across attempts."""

    def __init__(
        self, url: str, into: Path, allowance: Allowance, access: Access, listener: Listener, asking: Asking
    ) -> None:
        self._url = url
        self._into = into
        self._allowance = allowance
        self._bytes_max = allowance.bounds.bytes_max if listener.bytes_max is None else listener.bytes_max
        self._listener = listener
        self._tls = trust(access.ca_file)
        self._outbound = access.outbound
        self._accept_header = asking.accept
        self._authorization = asking.authorization or authorization(access.read_secret_for(url))
        self._received = 0
        self._validator: str | None = None
        into.touch()

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
        with (
            connecting(parts, self._tls, self._outbound, self._allowance) as connection,
            self._allowance.ending(connection.sock),
        ):
            connection.request("GET", _target(parts), headers=self._headers(url, connection.peer))
            # Closed by itself: a response that ends with its connection outlives the connection object.
            with Response(connection.sock, self._allowance) as response:
                response.begin()
                if response.status in (301, 302, 303, 307, 308):
                    return response.headers.get("location") or ""
                if response.status == 401:
                    raise self._unauthorized(response, url, connection.peer)
                self._accept(response)
                self._read(response)
        return None

    def _headers(self, url: str, peer: str) -> Mapping[str, str]:
        headers = {"accept-encoding": "identity", "user-agent": "fairlead-runtime"}
        if self._accept_header is not None:
            headers["accept"] = self._accept_header
        # Never to another host or port, to which the server may redirect.
        if self._authorization is not None and _origin(url) == _origin(self._url):
            if not url.startswith("https://"):
                self._outbound.check_credentials_in_clear(peer, bare_url(url))
            headers["authorization"] = self._authorization
        if self._received and self._validator:
            return {**headers, "range": f"bytes={self._received}-", "if-range": self._validator}
        return headers

    def _unauthorized(self, response: http.client.HTTPResponse, url: str, peer: str) -> UnauthorizedError:
        # What another host wants to have, to which the server redirects, is not answered.
        asked = response.headers.get_all("www-authenticate", []) if _origin(url) == _origin(self._url) else []
        challenge = ", ".join(asked)[:CHALLENGE_CHARS_MAX]
        self._listener.count(-self._received)
        text = f"{bare_url(self._url)} answered {_phrase(response.status)}"
        return UnauthorizedError(LoadReason.MODEL_FORBIDDEN, text, challenge, peer)

    def _accept(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status in _PERMANENT:
            raise LoadError(_PERMANENT[status], f"{bare_url(self._url)} answered {_phrase(status)}")
        if status in _TRANSIENT:
            raise _Broken(f"the server answered {_phrase(status)}")
        resumed = status == 206 and response.headers.get("content-range", "").startswith(f"bytes {self._received}-")
        if status == 206 and not resumed:
            self._validator = None
            raise _Broken("the server sent another byte range than the requested one")
        if status not in (200, 206):
            raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(self._url)} answered {_phrase(status)}")
        if not resumed:
            self._listener.count(-self._received)
            self._received = 0
        self._validator = strong_tag(response.headers.get("etag"))
        if self._received + (response.length or 0) > self._bytes_max:
            raise self._too_large()
        self._listener.expect(response.length or 0)

    def _read(self, response: http.client.HTTPResponse) -> None:
        with self._into.open("r+b") as file:
            file.truncate(self._received)
            file.seek(self._received)
            # `read1` returns what has come: a slow server is seen by the deadline, not only by the idle timeout.
            while chunk := response.read1(CHUNK_BYTES):
                self._received += len(chunk)
                self._listener.count(len(chunk))
                if self._received > self._bytes_max:
                    raise self._too_large()
                file.write(chunk)
        # A connection that the deadline ended looks like a body that is complete, where the server gave no length.
        self._allowance.check()
        if response.length:
            raise _Broken(f"the connection ended {response.length} bytes early")

    def _too_large(self) -> LoadError:
        return LoadError(
            LoadReason.MODEL_TOO_LARGE,
            f"{bare_url(self._url)} is larger than the limit of {self._bytes_max} bytes",
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
    try:
        joined = urljoin(url, target)
        shown = bare_url(joined)[:TARGET_CHARS_MAX]
        urlsplit(joined)
    except ValueError:
        raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(url)} redirects to what is no address") from None
    if not joined.startswith(("http://", "https://")) or (url.startswith("https://") and joined.startswith("http://")):
        raise LoadError(LoadReason.MODEL_FORBIDDEN, f"{bare_url(url)} redirects to {shown}, which is not followed")
    return joined


def strong_tag(tag: str | None) -> str | None:
    """An entity tag that a later request can have: not a weak one, which matches nothing, and no text that is no tag.

    Source: RFC 9110, 8.8.3, 13.1.1 and 13.1.5
    """
    if not tag or tag.startswith("W/") or len(tag) > TAG_CHARS_MAX or not (tag.isascii() and tag.isprintable()):
        return None
    return tag


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whom a fetch believes: the authorities of the system, and those in the file."""
    try:
        return trust_files.build({} if ca_file is None else {"FAIRLEAD_CA_FILE": ca_file})
    except ValueError as error:
        raise LoadError(LoadReason.CONFIG_INVALID, str(error)) from None


def _describe_failure(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate, and what helps where its authority is unknown."""
    # 18 to 21: self-signed, or no way to a trusted authority. Source: OpenSSL, x509_vfy.h
    unknown = error.verify_code in (18, 19, 20, 21)
    return error.verify_message.rstrip(".") + ("; FAIRLEAD_CA_FILE can name its authority" if unknown else "")


def authorization(secret: Mapping[str, str], purpose: Purpose = MODELS) -> str | None:
    """The header of a Secret for an HTTP server: `token`, or `username` and `password`; None without a Secret."""
    if not secret:
        return None
    if "token" in secret:
        value = f"Bearer {secret['token']}"
    else:
        credentials.require(secret, ("username", "password"), f"{purpose.server} takes token, or else", purpose)
        pair = f"{secret['username']}:{secret['password']}"
        value = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if not (value.isascii() and value.isprintable()):
        raise LoadError(
            LoadReason.MODEL_FORBIDDEN, f"{purpose.named_by}: the Secret's token has other than ASCII letters"
        )
    return value


def read_json(url: str, scratch: Path, allowance: Allowance, access: Access) -> object:
    """The JSON at the URL, as `read_small` reads it; raises LoadError."""
    content = read_small(url, scratch, allowance, access)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(url)} answered with something else than JSON") from None


def read_small(url: str, scratch: Path, allowance: Allowance, access: Access, asking: Asking = DEFAULT) -> bytes:
    """What is at the URL, of at most 4 MiB, by way of the file `scratch`; raises LoadError.

    It is no content, so all that a fetch reads counts together.
    """
    try:
        download(url, scratch, allowance, access, Listener(bytes_max=JSON_BYTES_MAX), asking)
        return scratch.read_bytes()
    finally:
        scratch.unlink(missing_ok=True)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _phrase(status: int) -> str:
    """A status in our own words: those of a server could be anything."""
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _describe(error: Exception, allowance: Allowance) -> str:
    """Why an attempt failed, without what the server sent."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {allowance.bounds.idle_s:g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server ended the connection without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended within the body"
    if isinstance(error, http.client.HTTPException):
        return "what answers doesn't keep to HTTP"
    return str(error) or type(error).__name__
