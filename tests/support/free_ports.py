"""Ports for the servers of tests: free on loopback, and of no other process of any test run on this machine.

They are outside the range that the kernel gives to connections, and outside the one that local clusters take from: a
part of a cluster that is down for a restart finds its port free.
"""

from __future__ import annotations

import random
from collections import deque

from fairlead_cli.local import ports

_RANGE = range(15000, 20000)
_KEPT = 500
_given: deque[int] = deque()
"""The last ones, which a server may not listen at yet. A server that stops and starts again finds its port free."""


def free_port() -> int:
    """A port where nobody listens now, and that no other process of a test gets while this one lives."""
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in _given and ports.is_free(port) and ports.reserve(port):
            _given.append(port)
            if len(_given) > _KEPT:
                ports.release(_given.popleft())
            return port
    raise OSError(f"no free port in {_RANGE.start}-{_RANGE.stop - 1}")


def free_ports(count: int) -> list[int]:
    """So many ports, all different."""
    return [free_port() for _ in range(count)]
