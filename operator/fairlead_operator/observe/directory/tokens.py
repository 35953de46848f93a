"""Ray's token of each namespace, from its Secret. It is kept in memory alone and never logged."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector
from fairlead_operator.observe.directory import scoped
from fairlead_operator.state import infrastructure

OBJECTS = scoped.Kind(
    path_of=functools.partial(paths.of_kind, infrastructure.SECRET),
    selector=kubernetes.Selector(fields=f"metadata.name={names.TOKEN_SECRET}"),
)
KEY = "auth_token"


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is None where the Secret has none that could be sent."""

    text: str | None = field(repr=False)


class KubernetesTokens:
    """The tokens as they are now."""

    def __init__(self, api: reflector.WatchApi, namespaces: Sequence[str], *, clock: Clock) -> None:
        self._secrets = scoped.Scoped(api, namespaces, OBJECTS, view_secret, clock=clock, on_change=lambda _: None)

    async def run(self) -> None:
        """List and watch for ever."""
        await self._secrets.run()

    def read(self, namespace: str) -> str:
        """The namespace's token.

        Raises:
            errors.Forbidden: there is none, or it can't be read.
        """
        found = self._secrets.values(namespace).get(names.TOKEN_SECRET)
        if found is None and not self._secrets.is_listed(namespace):
            error = self._secrets.error(namespace) or "it was not read yet"
            raise errors.Forbidden(f"Secret {names.TOKEN_SECRET} can't be read: {error}")
        if found is None or found.text is None:
            raise errors.Forbidden(f"Secret {names.TOKEN_SECRET} has no {KEY}")
        return found.text


def view_secret(body: Mapping[str, Any]) -> Token:
    """The token of a Secret: one line of visible ASCII characters, as it becomes a header."""
    encoded = (body.get("data") or {}).get(KEY)
    try:
        text = base64.b64decode(str(encoded), validate=True).decode("ascii").strip()
    except (binascii.Error, ValueError):
        return Token(None)
    return Token(text if text and text.isprintable() and " " not in text else None)
