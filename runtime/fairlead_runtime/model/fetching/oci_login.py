"""How a registry is asked for what is not public: it refuses the first request, and says what it wants to have.

Source: RFC 9110, 11.6.1; Distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model import http_fetch
from fairlead_runtime.model.fetching import challenges
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance
from fairlead_runtime.model.fetching.outbound import Outbound, is_public
from fairlead_runtime.model.fetching.purposes import MODELS
from fairlead_runtime.model.http_fetch import Asking

T = TypeVar("T")
TOKEN_CHARS_MAX = 16 * 1024


class Login:
    """What one fetch sends to a registry to be let in, renewed where the registry doesn't take it any more."""

    def __init__(self, base: str, access: Access, allowance: Allowance, scratch: Path) -> None:
        self._base = base
        self._access = access
        self._public = dataclasses.replace(access, secret=None)
        self._allowance = allowance
        self._scratch = scratch
        self._authorization: str | None = None
        self._lock = Lock()

    def ask(self, call: Callable[[Access, Asking], T]) -> T:
        """What the call gives, which may be made a second time, with other credentials; raises LoadError."""
        used = self._authorization
        try:
            return call(self._public, Asking(authorization=used))
        except http_fetch.UnauthorizedError as refused:
            with self._lock:
                if self._authorization == used:  # No other thread has got a new one meanwhile.
                    self._authorization = self._answer(refused)
        return call(self._public, Asking(authorization=self._authorization))

    def _answer(self, refused: http_fetch.UnauthorizedError) -> str:
        """The header that the registry asks for; raises LoadError."""
        # Also before a token is asked for elsewhere: it would be sent here.
        secret = self._access.read_secret_for(self._base)
        wanted = challenges.find_token_server(refused.challenge)
        if wanted is not None and "token" not in secret:
            return f"Bearer {self._read_token(wanted, refused.peer)}"
        header = http_fetch.authorization(secret)
        if header is None:
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{bare_url(self._base)} takes no request without credentials: {MODELS.named_by} names their Secret",
            )
        return header

    def _read_token(self, wanted: Mapping[str, str], peer: str) -> str:
        realm = self._check_realm(wanted.get("realm", ""))
        access = self._access
        if access.secret is None:
            access = dataclasses.replace(access, outbound=self._outbound_without_secret(realm, peer))
        more = urlencode([(name, wanted[name]) for name in ("service", "scope") if name in wanted])
        url = realm._replace(query="&".join(each for each in (realm.query, more) if each)).geturl()
        answer = http_fetch.read_json(url, self._scratch, self._allowance, access)
        found = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not isinstance(found, str) or not _is_sendable(found):
            raise LoadError(LoadReason.FETCH_FAILED, f"{bare_url(url)} answered without a token")
        return found

    def _check_realm(self, text: str) -> SplitResult:
        """The address of a token server; raises LoadError for one in a form that is not asked."""
        try:
            realm = urlsplit(text)
        except ValueError:
            realm = urlsplit("")
        is_plain = "#" not in text and "@" not in realm.netloc and realm.hostname
        is_downgraded = self._base.startswith("https://") and realm.scheme != "https"
        if realm.scheme not in ("http", "https") or not is_plain or is_downgraded:
            raise LoadError(
                LoadReason.FETCH_FAILED,
                f"{bare_url(self._base)} names no address to get a token from, or one without TLS, with a user or with "
                "a fragment",
            )
        return realm

    def _outbound_without_secret(self, realm: SplitResult, peer: str) -> Outbound:
        """By which rules a token server is asked that the registry alone has chosen; raises LoadError.

        The registry gets the token, and the author of a model chooses the registry: it must not get that of a server
        which it can't ask itself. A host that the platform lists is its choice.
        """
        outbound = self._access.outbound
        own, host = _name(self._base), _name(realm.geturl())
        if realm.scheme == "http" and host != own:
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{bare_url(self._base)} sends its clients to {host} for a token, without TLS",
            )
        if outbound.hosts:
            return outbound
        if self._is_public(peer, outbound):
            return dataclasses.replace(outbound, is_public_only=True)
        if host != own:
            raise LoadError(
                LoadReason.MODEL_FORBIDDEN,
                f"{bare_url(self._base)} sends its clients to {host} for a token: unless the registry is at a public "
                "address, asked without a proxy, spec.sources.allowedHosts of the ServingClass must list both hosts",
            )
        return dataclasses.replace(outbound, hosts=(own,))

    def _is_public(self, peer: str, outbound: Outbound) -> bool:
        """Whether the registry answered from a public address; a proxy's own address says nothing of that."""
        base = urlsplit(self._base)
        is_direct = base.scheme != "https" or outbound.proxy is None or not outbound.proxy.serves(base.hostname or "")
        return is_direct and is_public(peer)


def _name(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _is_sendable(token: str) -> bool:
    return 0 < len(token) <= TOKEN_CHARS_MAX and token.isascii() and token.isprintable()
