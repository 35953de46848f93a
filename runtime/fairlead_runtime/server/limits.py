"""What one connection may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bytes and seconds; a message's head is its request line and headers."""

    body_bytes_max: int
    head_bytes_max: int = 32 * 1024
    url_bytes_max: int = 8 * 1024
    headers_max: int = 100
    pipelined_max: int = 32
    connections_max: int = 4096
    head_timeout_s: float = 10
    body_timeout_s: float = 30
    idle_timeout_s: float = 120
    write_timeout_s: float = 30
    linger_s: float = 1
