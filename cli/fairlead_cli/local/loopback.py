"""Asks a listener on loopback whether it answers; lean, for it is asked many times a second while it starts."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping


def get_status(
    port: int,
    path: str,
    *,
    host: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
    timeout_s: float = 5,
) -> int | None:
    """The HTTP status of a GET; None without an answer. `trust`, a CA file, makes it HTTPS."""
    connection = (
        http.client.HTTPConnection(host, port, timeout=timeout_s)
        if trust is None
        else http.client.HTTPSConnection(host, port, timeout=timeout_s, context=trust)
    )
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
