"""How much of what was written a client has read."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
import time
from contextlib import suppress
from dataclasses import dataclass

READ_BYTES_MIN = 64 * 1024
"""A client that reads less than this (and less than all there is) within the write timeout doesn't read."""


@dataclass(slots=True)
class Delivery:
    """How far a client has read what was written, looked at now and then."""

    is_open: bool = False
    _written: int = 0
    _target: int = 0
    _since_s: float = 0.0

    def add(self, size: int) -> None:
        self._written += size
        if not self.is_open:
            self.is_open = True
            self._start(self._written - size, time.monotonic())

    def is_stuck(self, unsent: int, now_s: float, timeout_s: float) -> bool:
        """Whether the client has read too little for so long."""
        sent = self._written - unsent
        if sent >= self._target:
            self._start(sent, now_s)
        return now_s - self._since_s > timeout_s

    def _start(self, sent: int, now_s: float) -> None:
        self._target = min(self._written, sent + READ_BYTES_MIN)
        self._since_s = now_s


def unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes in the socket's send queue. Source: tcp(7), SIOCOUTQ, which is TIOCOUTQ."""
    given = transport.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        return int(struct.unpack("i", fcntl.ioctl(given.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    return 0
