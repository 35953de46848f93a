"""Free loopback ports, outside the ranges that others take from, which no other process of this user is given."""

from __future__ import annotations

import fcntl
import functools
import os
import pathlib
import random
import socket
import tempfile
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
    """A port that is free now, not in `taken`, and that no other process picks while this one lives.

    A part may listen at its port a minute after it was picked, and another cluster may be started meanwhile.
    """
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in taken and is_free(port) and reserve(port):
            return port
    raise OSError(f"no free port in {_RANGE.start}-{_RANGE.stop - 1}")


def reserve(port: int) -> bool:
    """Keep other processes of this user from reserving the port until this one ends; False where one has it."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


def release(port: int) -> None:
    """Let other processes reserve the port again."""
    fcntl.lockf(_reservations(), fcntl.LOCK_UN, 1, port)


@functools.cache
def _reservations() -> int:
    """A file in which a process locks one byte for each of its ports. The kernel unlocks them when the process ends."""
    path = pathlib.Path(tempfile.gettempdir(), f"fairlead-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
