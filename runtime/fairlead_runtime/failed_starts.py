"""How long a replica waits before it starts, after others of its revision failed to start on this node.

Ray starts another replica about half a second after one failed, for as long as the revision serves, and has no setting
for it. Each start may read the model's source and load a graph. So the replica waits: not at first, then for 1, 2, 4,
8, 16 and at most 30 s after the last failure.

A revision's failures are the size of a file without content, which the next process finds. Failures within a second of
one that was counted are not: those are replicas that start together.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from pathlib import Path

LOG = logging.getLogger(__name__)
FOLDER = "failed-starts"
FREE = 4
"""So many failures cause no wait: Ray gives a new revision up after three for each replica."""
FIRST_S = 1.0
LONGEST_S = 30.0
TOGETHER_S = 1.0
FORGOTTEN_AFTER_S = 120.0
COUNT_MAX = 64


def compute_pause_s(failures: int, since_last_s: float) -> float:
    """How long to wait from now on, in seconds; 0 if a start is due."""
    if failures <= FREE or not 0 <= since_last_s <= FORGOTTEN_AFTER_S:
        return 0.0
    whole_s = min(LONGEST_S, FIRST_S * 2.0 ** (failures - FREE - 1))
    return max(0.0, whole_s - since_last_s)


class FailedStarts:
    """The failures of one revision on this node, since a person last asked for a retry (`attempt`).

    No method raises: what can't be read or written causes no wait.
    """

    def __init__(self, cache_dir: Path, *, namespace: str, model: str, revision: str, attempt: int) -> None:
        name = hashlib.sha256(f"{namespace}/{model}/{revision}/{attempt}".encode()).hexdigest()[:32]
        self._root = cache_dir
        self._path = cache_dir / FOLDER / name

    def pause_s(self) -> float:
        """How long the next start has to wait, in seconds."""
        try:
            found = self._path.lstat()
        except OSError:
            return 0.0
        return compute_pause_s(found.st_size, time.time() - found.st_mtime)

    def record(self) -> None:
        """Count a failure."""
        try:
            # The cache refuses a folder that others may write.
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._remove_forgotten()
            self._count()
        except OSError as error:
            LOG.warning("a failed start can't be counted in %s: %s", self._path.parent, error.strerror)

    def clear(self) -> None:
        """Forget the failures: a replica of the revision has started."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _count(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = os.fstat(descriptor)
            since_s = time.time() - found.st_mtime
            if found.st_size == 0 or not 0 <= since_s < TOGETHER_S:
                # A file system that is full still lets a file be longer: it takes no block.
                os.ftruncate(descriptor, min(COUNT_MAX, found.st_size + 1))
                # Only then: starts may follow each other faster than that, and each would put off the next count.
                os.utime(descriptor)
        finally:
            os.close(descriptor)

    def _remove_forgotten(self) -> None:
        """Remove the files of revisions that have not failed for long, so that few remain."""
        now_s = time.time()
        for path in self._path.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not 0 <= now_s - path.lstat().st_mtime <= FORGOTTEN_AFTER_S:
                    path.unlink()
