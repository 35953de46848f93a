"""The node's folder: one locked file for each living replica. Nothing here waits.

A replica holds a lock (flock) on its file while it lives: the kernel gives the lock up with the process, however that
ended. A reader that gets a shared lock has found the file of a dead replica, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead_runtime.discovery import entry
from fairlead_runtime.discovery.entry import Entry, InvalidEntryError, Replica, State

FILES_MAX = 4 * entry.REPLICAS_MAX
READS_MAX = 5
SETTLED_AFTER_NS = 100_000_000
"""Times of change are those of the kernel's tick (up to 10 ms): two changes of one tick look like one. A folder is
believed to be as it was read only when it was read so much later than it changed."""
TEMPORARY_AGE_S = 60.0
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ESTALE})
_NO_REPLICAS_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM})
"""What opening a link, a socket or a file that was made unreadable gives."""


class FolderError(Exception):
    """The folder can't be read whole, so nothing is known of the node's replicas."""


def prepare(folder: Path) -> None:
    """Makes the folder for this user alone; raises FolderError when another one may write there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise FolderError(f"{folder} can't be created: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(f"{folder} must be a folder, not a link or a file")
    if found.st_uid != os.geteuid():
        raise FolderError(f"{folder} belongs to the user {found.st_uid}; it must belong to {os.geteuid()}")
    if found.st_mode & 0o077:
        raise FolderError(f"{folder} has the mode {stat.S_IMODE(found.st_mode):04o}; it must be 0700")


class OwnFile:
    """The file of this process's replica. Its methods may be called from any thread, one at a time."""

    def __init__(self, folder: Path, replica: Replica) -> None:
        """Writes the file; raises FolderError."""
        self._folder = folder
        self._replica = replica
        self._state = State.READY
        self._descriptor = self._write()

    @property
    def name(self) -> str:
        return self._replica.name

    def drain(self) -> None:
        """From now on the directory lists the replica as draining; raises FolderError."""
        if self._state is State.DRAINING:
            return
        before = self._path(State.READY)
        self._state = State.DRAINING
        try:
            # The same file under another name: the lock stays.
            before.rename(self._path(State.DRAINING))
        except OSError:
            self.restore()

    def restore(self) -> None:
        """Writes the file again if it was removed or replaced; raises FolderError."""
        if self._is_there():
            return
        held, self._descriptor = self._descriptor, self._write()
        os.close(held)

    def remove(self) -> None:
        """The directory lists the replica no more."""
        if self._is_there():
            with contextlib.suppress(FileNotFoundError):
                self._path(self._state).unlink()
        os.close(self._descriptor)

    def _path(self, state: State) -> Path:
        return self._folder / entry.file_name(self._replica.name, state)

    def _is_there(self) -> bool:
        try:
            found = self._path(self._state).lstat()
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def _write(self) -> int:
        """The descriptor that holds the lock."""
        prepare(self._folder)
        temporary = self._folder / entry.temporary_name(self._replica.name)
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderError(f"{temporary} can't be created: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, self._replica.content())
            temporary.rename(self._path(self._state))
        except OSError as error:
            os.close(descriptor)
            raise FolderError(f"{self._path(self._state)} can't be written: {error.strerror}") from None
        return descriptor


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a file, and which file that was."""

    identity: tuple[int, int, int]
    replica: Replica


class Reader:
    """Lists the living replicas. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, _Known] = {}
        self._settled_ns: int | None = None

    def has_changed(self) -> bool:
        """Whether files may have come, gone or changed their state since `read`. Cheap. A death doesn't show here."""
        return self._settled_ns is None or self._changed_ns() != self._settled_ns

    def read(self) -> tuple[Entry, ...]:
        """The living replicas by name, files of dead ones removed; raises FolderError.

        A listing may miss a file that is renamed meanwhile, so it is read again until the folder kept still, and who
        was there before is looked up by name.
        """
        found: dict[str, Entry] = {}
        for _ in range(READS_MAX):
            began_ns = time.time_ns()
            before_ns = self._changed_ns()
            found, is_whole = self._list()
            if is_whole and self._changed_ns() == before_ns:
                self._settled_ns = before_ns if began_ns - before_ns > SETTLED_AFTER_NS else None
                break
            self._settled_ns = None
        for name in self._known.keys() - found.keys():
            if (current := self._look_up(name)) is not None:
                found[name] = current
        self._known = {name: known for name, known in self._known.items() if name in found}
        if len(found) > entry.REPLICAS_MAX:
            raise FolderError(f"{self._folder} has files of more than {entry.REPLICAS_MAX} running replicas")
        return tuple(found[name] for name in sorted(found))

    def _changed_ns(self) -> int:
        try:
            return os.stat(self._folder, follow_symlinks=False).st_mtime_ns
        except OSError as error:
            raise FolderError(f"{self._folder} can't be read: {error.strerror}") from None

    def _list(self) -> tuple[dict[str, Entry], bool]:
        """The living replicas, and whether every file was still there when it was opened."""
        found: dict[str, Entry] = {}
        is_whole = True
        for file in self._names():
            if (parsed := entry.parse_file_name(file)) is None:
                if entry.is_temporary(file):
                    self._remove_abandoned(file)
                continue
            name, state = parsed
            # Draining wins when both files exist.
            if name in found and found[name].state is State.DRAINING:
                continue
            try:
                replica = self._find_living(file, name)
            except FileNotFoundError:
                is_whole = False
                continue
            if replica is not None:
                found[name] = Entry(replica=replica, state=state)
        return found, is_whole

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._folder) as listed:
                for count, each in enumerate(listed):
                    if count >= FILES_MAX:
                        raise FolderError(f"{self._folder} has more than {FILES_MAX} files")
                    yield each.name
        except OSError as error:
            raise FolderError(f"{self._folder} can't be read: {error.strerror}") from None

    def _look_up(self, name: str) -> Entry | None:
        """A replica that was there before. Ready before draining: that is the only way a file is renamed."""
        for state in (State.READY, State.DRAINING):
            with contextlib.suppress(FileNotFoundError):
                replica = self._find_living(entry.file_name(name, state), name)
                return Entry(replica=replica, state=state) if replica is not None else None
        return None

    def _find_living(self, file: str, name: str) -> Replica | None:
        """What a file says; None when its replica is dead (the file is removed then) or it is no replica's.

        Raises FileNotFoundError when there is no such file (any more).
        """
        with self._open(file) as descriptor:
            if descriptor is None:
                return None
            if _is_free(descriptor):
                with contextlib.suppress(OSError):
                    os.unlink(self._folder / file)
                return None
            found = os.fstat(descriptor)
            identity = (found.st_ino, found.st_mtime_ns, found.st_size)
            known = self._known.get(name)
            if known is not None and known.identity == identity:
                return known.replica
            try:
                replica = entry.parse(name, os.read(descriptor, entry.FILE_BYTES_MAX + 1))
            except InvalidEntryError:
                return None
            except OSError as error:
                raise FolderError(f"{file} can't be read: {error.strerror}") from None
            self._known[name] = _Known(identity, replica)
            return replica

    def _remove_abandoned(self, file: str) -> None:
        """What a replica left that died between making and naming its file. A young one may be about to be locked."""
        path = self._folder / file
        with contextlib.suppress(FileNotFoundError), self._open(file) as descriptor:
            if descriptor is None or time.time() - os.fstat(descriptor).st_mtime < TEMPORARY_AGE_S:
                return
            if _is_free(descriptor):
                with contextlib.suppress(OSError):
                    path.unlink()

    @contextlib.contextmanager
    def _open(self, file: str) -> Iterator[int | None]:
        """A regular file of this user, never waited for; None for anything else."""
        try:
            descriptor = os.open(self._folder / file, _OPEN_FLAGS)
        except OSError as error:
            if error.errno in _GONE:
                raise FileNotFoundError(file) from None
            if error.errno not in _NO_REPLICAS_FILE:
                # Such as too many open files: that says nothing about the replica.
                raise FolderError(f"{file} can't be opened: {error.strerror}") from None
            descriptor = -1
        if descriptor < 0:
            yield None
            return
        try:
            yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    """Whether no process holds the file's lock. The lock is taken here; closing the descriptor releases it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
