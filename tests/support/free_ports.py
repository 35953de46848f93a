"""Ports for the servers of tests, free on loopback and outside the range that the kernel gives to connections."""

from __future__ import annotations

from collections import deque

from fairlead_cli.local import ports

_given: deque[int] = deque(maxlen=1000)
"""The last ones, which a server may not listen at yet."""


def free_port() -> int:
    """A port where nobody listens now. A server that stops and starts again finds it free."""
    _given.append(ports.pick(_given))
    return _given[-1]


def free_ports(count: int) -> list[int]:
    """So many ports, all different."""
    return [free_port() for _ in range(count)]
