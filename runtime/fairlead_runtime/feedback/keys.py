"""The key of a model's tokens, derived from the token that every process of the Ray cluster has: no new secret."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

_SALT = b"fairlead v1"
FEEDBACK = b"feedback token"
COPY = b"shadow copy"


def ray_token(environment: Mapping[str, str], home: Path) -> str | None:
    """The cluster's authentication token; None where it has none, it can't be read, or each process has its own.

    Source: https://docs.ray.io/en/master/ray-core/internals/token-authentication.html, "Token Sources and Precedence"
    """
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    # Then tokens are of service accounts, and change.
    if environment.get("RAY_ENABLE_K8S_TOKEN_AUTH", "").lower() in ("1", "true"):
        return None
    given = environment.get("RAY_AUTH_TOKEN", "").strip()
    if given:
        return given
    path = environment.get("RAY_AUTH_TOKEN_PATH")
    try:
        return (Path(path) if path else home / ".ray" / "auth_token").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def own_ray_token() -> str | None:
    """This process's."""
    return ray_token(os.environ, Path.home())


def derive(secret: str, *, namespace: str, model: str, purpose: bytes = FEEDBACK) -> bytes:
    """32 bytes that belong to one model and purpose: HKDF with SHA-256, one block. Source: RFC 5869, 2.2 and 2.3."""
    extracted = hmac.digest(_SALT, secret.encode(), hashlib.sha256)
    return hmac.digest(extracted, purpose + b"\0" + _context(namespace, model) + b"\x01", hashlib.sha256)


def copy_mark(secret: str | None, *, namespace: str, model: str, candidate: str) -> str:
    """What a copy for this candidate says of itself; anybody can say it where there is no secret."""
    if secret is None:
        return "unsigned"
    key = derive(secret, namespace=namespace, model=model, purpose=COPY)
    return hmac.digest(key, candidate.encode(), hashlib.sha256)[:16].hex()


def context_id(*, namespace: str, model: str) -> bytes:
    """Four bytes that identify the model of a token, so that a token of another model gets its own reason."""
    return hashlib.sha256(_context(namespace, model)).digest()[:4]


def _context(namespace: str, model: str) -> bytes:
    # With the lengths, so that no two pairs of names read the same.
    return b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in (namespace, model))
