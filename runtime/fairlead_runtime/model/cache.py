"""The folder of fetched models: by digest, held by those who use them, bounded; the least recently used goes first.

Names in the folder change only under its one short lock. What takes long (fetching, unpacking, removing) happens in
folders `tmp-…`, each locked by its owner. All locks are the kernel's (flock): they end with their process, however it
ends, so a folder `tmp-…` that nobody holds is rubbish, and an entry that somebody holds is in use by a living replica
of this node, in whatever process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest

LOG = logging.getLogger(__name__)
LOCK = "cache.lock"
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's is. Source: stat(2)
_POLL_S = 0.05
_LEAST_BYTES = 64 * 1024  # for names and folders, before the size of what comes is known


class Held:
    """A lock on a folder, until it is closed or the process ends."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def touch(self) -> None:
        """Says that the folder is used now."""
        if self._handle is not None:
            os.utime(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """An unused model that was removed to make room."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A verified local copy, a file or a folder, that stays as long as `lease` is open."""

    path: Path
    digest: str
    lease: Held = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    path: Path
    size_bytes: int
    used_s: float

    @property
    def digest(self) -> str:
        return self.path.name.replace("-", ":", 1)


def is_full(error: OSError) -> bool:
    """Whether a write failed because the disk, or the user's quota of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class Cache:
    """One process's view of the folder `root`; `evicted` is what this one removed."""

    def __init__(self, root: Path, *, bytes_max: int) -> None:
        self.evicted: list[Evicted] = []
        self.root = root
        self._bytes_max = bytes_max

    @contextmanager
    def exclusive(
        self, name: str, timeout_s: float, *, what: str = "fetching this model", at_once: int = 1
    ) -> Iterator[None]:
        """One process of the node at a time: a fetch of a URI, by its name, or `what` else is done under a name.

        With `at_once` so many processes may do that beside each other; raises LoadError when the time is over.
        """
        self._make_root()
        names = (name, *(f"{name} {number}" for number in range(1, at_once)))
        paths = [self.root / f"{hashlib.sha256(each.encode()).hexdigest()[:32]}.lock" for each in names]
        deadline_s = time.monotonic() + timeout_s
        while True:
            for path in paths:
                with path.open("a") as file:
                    # One no longer under its name was removed as unused, between our opening and locking it.
                    if _try_lock(file.fileno(), fcntl.LOCK_EX) and _is_at(file.fileno(), path):
                        yield
                        return
            if time.monotonic() > deadline_s:
                raise LoadError(LoadReason.FETCH_FAILED, f"another replica on this node is still {what}")
            time.sleep(_POLL_S)

    def _make_root(self) -> None:
        """Raises LoadError for a folder that another user could have filled, or could fill."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self.root.lstat()
        if not stat.S_ISDIR(found.st_mode):
            why = "is a link; name the folder that it leads to"
        elif found.st_uid != os.getuid():
            why = f"belongs to user {found.st_uid}, not to {os.getuid()}; name a folder below it, which is made then"
        elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            why = "may be written by others; take that right away (chmod go-w), or name a folder below it"
        else:
            return
        raise LoadError(LoadReason.CONFIG_INVALID, f"FAIRLEAD_CACHE_DIR: {self.root} {why}")

    def find(self, wanted: str, content_of: Callable[[Path], Path | None]) -> Fetched | None:
        """The entry, if `content_of` finds its content to be what the digest says; a damaged one is removed."""
        path = self._entry(wanted)
        with self._locked():
            lease = _hold(path, fcntl.LOCK_SH)
        if lease is None:
            return None
        try:
            content = content_of(path)
        except (OSError, ValueError, LoadError):
            content = None
        if content is not None:
            lease.touch()
            return Fetched(path=content, digest=wanted, lease=lease)
        lease.close()
        LOG.warning("the cached copy of %s is damaged, or counts no longer, and is removed", wanted)
        self.discard(wanted)
        return None

    def discard(self, unwanted: str) -> None:
        """Removes the entry, if there is one; who holds it keeps its files, under no name."""
        with self._locked(), suppress(FileNotFoundError):
            self._entry(unwanted).rename(self._fresh_name())
        self._clean()

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A folder of our own on the cache's disk, while the block runs; first, what others left is removed."""
        self._clean()
        self.make_room(_LEAST_BYTES)
        with self._locked():
            path = Path(tempfile.mkdtemp(prefix="tmp-", dir=self.root))
            held = _hold(path, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            if held is not None:
                held.close()

    def publish(self, made: Path, content: str, actual: str) -> Fetched:
        """Gives the complete folder `made` its name: a reader sees the whole entry or none."""
        final = self._entry(actual)
        with self._locked():
            if not final.exists():  # else another process was faster with the same content
                made.rename(final)
                _sync_folder(self.root)
            lease = _hold(final, fcntl.LOCK_SH)
        if lease is None:
            raise LoadError(
                LoadReason.FETCH_FAILED,
                f"the model's copy in {self.root} was removed by another process right after it was stored",
            )
        lease.touch()
        return Fetched(path=final / content, digest=actual, lease=lease)

    def make_room(self, needed_bytes: int, *, written_bytes: int = 0) -> None:
        """Removes unused models until so many more bytes fit under the bound; LoadError if the disk is too small.

        `written_bytes` of them are on the disk. What is in use stays, even if it alone is beyond the bound.
        """
        while sum(entry.size_bytes for entry in self._entries()) + needed_bytes > self._bytes_max:
            if not self._evict_one():
                if not needed_bytes:
                    LOG.warning("the models in use exceed the cache's limit of %d bytes", self._bytes_max)
                break
        while shutil.disk_usage(self.root).free < needed_bytes - written_bytes:
            if not self._evict_one():
                raise self.disk_full_error(f"{needed_bytes} bytes")

    def with_room(self, write: Callable[[], None], target: Path) -> None:
        """Writes `target`; where the disk fills up meanwhile, again from the start with one model less."""
        while True:
            try:
                return write()
            except OSError as error:
                if not is_full(error):
                    raise
                written = _size_bytes(target)
                _remove(target)
                if not self._evict_one():
                    raise self.disk_full_error(f"more than {written} bytes") from None

    def disk_full_error(self, needed: str) -> LoadError:
        """The loader's words for a full disk."""
        entries, free = self._entries(), shutil.disk_usage(self.root).free
        return LoadError(
            LoadReason.DISK_FULL,
            f"the disk of {self.root} is full: the model needs {needed}, {free} are free; "
            f"{len(self.evicted)} unused models of {sum(each.size_bytes for each in self.evicted)} bytes were removed, "
            f"{len(entries)} of {sum(each.size_bytes for each in entries)} bytes are in use",
        )

    def _evict_one(self) -> bool:
        """Removes the least recently used entry that no process holds; False when there is none."""
        with self._locked():
            for entry in sorted(self._entries(), key=lambda each: each.used_s):
                held = _hold(entry.path, fcntl.LOCK_EX)
                if held is not None:
                    gone = self._fresh_name()
                    entry.path.rename(gone)
                    break
            else:
                return False
        # From here on it is rubbish: if this process is killed, the next one removes it.
        shutil.rmtree(gone, ignore_errors=True)
        held.close()
        self.evicted.append(Evicted(digest=entry.digest, size_bytes=entry.size_bytes))
        unused_h = (time.time() - entry.used_s) / 3600
        LOG.info("evicted %s: %d bytes, last used %.1f hours ago", entry.digest, entry.size_bytes, unused_h)
        return True

    def _clean(self) -> None:
        """Removes files of killed processes, and locks that no process holds."""
        with self._locked():
            rubbish = {path: _hold(path, fcntl.LOCK_EX) for path in self.root.glob("tmp-*")}
            for path in self.root.glob("*.lock"):
                if path.name != LOCK:
                    with path.open("a") as file:
                        if _try_lock(file.fileno(), fcntl.LOCK_EX):
                            path.unlink(missing_ok=True)
        for path, held in rubbish.items():
            if held is not None:
                shutil.rmtree(path, ignore_errors=True)
                held.close()

    def _entries(self) -> Sequence[_Entry]:
        found = []
        for path in self.root.glob("sha256-*"):
            with suppress(FileNotFoundError):
                found.append(_Entry(path=path, size_bytes=_size_bytes(path), used_s=path.stat().st_mtime))
        return found

    def _entry(self, content_digest: str) -> Path:
        return self.root / content_digest.replace(":", "-")

    def _fresh_name(self) -> Path:
        return self.root / f"tmp-gone-{os.urandom(8).hex()}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock; not reentrant, and never held while bytes are read or written."""
        with (self.root / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _hold(folder: Path, kind: int) -> Held | None:
    """The lock at once or not at all; None also where there is no folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    held = Held(handle)
    if _try_lock(handle, kind):
        return held
    held.close()
    return None


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _size_bytes(path: Path) -> int:
    """What a file or a folder takes on the disk; what vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_blocks * _BLOCK_BYTES
    with suppress(FileNotFoundError):
        total += path.lstat().st_blocks * _BLOCK_BYTES
    return total


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(root: Path) -> None:
    """Brings every file below `root` to the disk."""
    for name in digest.list_files(root):
        with (root / name).open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(root)
