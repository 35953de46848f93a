"""HMAC-SHA256 with the key's two blocks hashed once: a third of the library's time. Source: RFC 2104, 4."""

from __future__ import annotations

import hashlib

_BLOCK_BYTES = hashlib.sha256().block_size


class Mac:
    """Signs with one key, of at most a block; the signature is cut to `size` bytes."""

    def __init__(self, key: bytes, size: int) -> None:
        if len(key) > _BLOCK_BYTES:
            raise ValueError(f"a MAC key may have at most {_BLOCK_BYTES} bytes")
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        self._size = size

    def sign(self, message: bytes) -> bytes:
        """The first bytes of HMAC(key, message)."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[: self._size]
