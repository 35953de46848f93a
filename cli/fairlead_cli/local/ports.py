"""Free loopback ports, outside the ranges that others take from."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

# Below the kernel's own range (32768 up), from which outgoing connections and replicas take theirs: a part that is down
# for a restart must not find its port taken.
_RANGE = range(10000, 15000)


def is_free(port: int) -> bool:
    """Whether no process listens on this port, on loopback or on all interfaces."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def pick(taken: Collection[int]) -> int:
    """A port that is free now and not in `taken`; at random, so that two clusters started at once do not collide."""
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port in {_RANGE.start}-{_RANGE.stop - 1}")
