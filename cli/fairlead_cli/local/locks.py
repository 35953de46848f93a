"""A file lock that reports what it waits for, and that a child process can keep."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from fairlead_cli.local import progress


@contextlib.contextmanager
def hold(path: pathlib.Path, *, what: str, reporter: progress.Reporter) -> Iterator[int]:
    """Hold the lock; `what` says what its holder does. The value is the lock's descriptor.

    The kernel frees the lock when the last copy of the descriptor is closed, so when its holder dies, however that
    happens. A child that is given the descriptor (`pass_fds`) keeps the lock when its parent is killed: a build that
    outlives the command still keeps a second one from starting.

    The file stays: removing it would let two hold the lock, one on the old file and one on the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.step(f"waiting: {what} ({path})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
