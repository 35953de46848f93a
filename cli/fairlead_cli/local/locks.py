"""A file lock whose waiter says what it waits for."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import filelock

from fairlead_cli.local import progress


@contextlib.contextmanager
def held(path: pathlib.Path, *, what: str, reporter: progress.Reporter) -> Iterator[None]:
    """Hold the lock; `what` says what its holder does. The kernel frees it when the holder dies, however that happens.

    The file stays: removing it would let two hold the lock, one on the old file and one on the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        reporter.step(f"waiting: {what} ({path})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
