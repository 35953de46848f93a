"""Brings the files of a listing into a folder: names checked, bounded, several at a time.

A listing is the store's word and may be hostile. Nothing of it is written before all its names are checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event, Lock

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching.allowance import ANSWER_BYTES, Allowance

THREADS = 8
NAME_CHARS_MAX = 1024
PART_BYTES_MAX = 255
"""Of one part of a name, as file systems have it."""
DEPTH_MAX = 32


class Transfer:
    """What all tasks of a download share: the content that may still come, and whether one failed."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self._left = allowance.bounds.bytes_max
        self._lock = Lock()
        self._stopped = Event()

    def count(self, size_bytes: int) -> None:
        """Counts bytes that came (fewer than 0: that are read again); raises LoadError where the download must end."""
        with self._lock:
            self._left -= size_bytes
            if self._left < 0:
                raise too_large(self.allowance.bounds)
        self.allowance.release(max(0, size_bytes))
        if self._stopped.is_set():
            raise LoadError(LoadReason.FETCH_FAILED, "the download ended, as another part of it failed")
        self.allowance.check()

    def pause(self, seconds: float) -> None:
        """Waits before another attempt, unless the download ends meanwhile."""
        self._stopped.wait(min(seconds, self.allowance.left_s()))

    def stop(self) -> None:
        """Ends the tasks that still run."""
        self._stopped.set()


Task = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a listing. `tasks` are what writes its content into a file that is there and empty."""

    name: str
    size_bytes: int | None
    tasks: Callable[[Path, Transfer], Iterable[Task]] = field(compare=False)


def check(entries: Iterable[Entry], bounds: Bounds) -> tuple[Entry, ...]:
    """The entries, once every name and the sizes are found to be in order; raises LoadError."""
    found: list[Entry] = []
    names: set[str] = set()
    total = 0
    for entry in entries:
        if len(found) == bounds.entries_max:
            raise LoadError(LoadReason.MODEL_TOO_LARGE, f"the model has more than {bounds.entries_max} files")
        total += entry.size_bytes or 0
        if total > bounds.bytes_max:
            raise too_large(bounds)
        check_name(entry.name)
        # Compared without case: two names that differ in case alone are one file on some file systems.
        if (key := entry.name.casefold()) in names:
            raise _unsafe(entry.name, "comes twice")
        names.add(key)
        found.append(entry)
    for entry in found:
        for parent in PurePosixPath(entry.name.casefold()).parents:
            if str(parent) in names:
                raise _unsafe(entry.name, "lies within a file")
    return tuple(found)


def sum_sizes(entries: Iterable[Entry]) -> int:
    """The bytes that will come, as far as the listing says."""
    return sum(entry.size_bytes or 0 for entry in entries)


def download(entries: Iterable[Entry], into: Path, allowance: Allowance) -> None:
    """Writes the checked entries below the new folder `into`; raises LoadError, or the OSError of a full disk."""
    into.mkdir()
    targets = {into.joinpath(*PurePosixPath(entry.name).parts): entry for entry in entries}
    _run(targets, allowance)


def download_one(entry: Entry, into: Path, allowance: Allowance) -> None:
    """Writes one entry as the new file `into`."""
    _run({into: entry}, allowance)


def _run(targets: dict[Path, Entry], allowance: Allowance) -> None:
    transfer = Transfer(allowance)

    def finish(task: Task) -> None:
        task()
        allowance.release(ANSWER_BYTES)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
        try:
            pending = [pool.submit(finish, task) for task in _tasks(targets, transfer)]
            done, _ = wait(pending, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            transfer.stop()
            pool.shutdown(cancel_futures=True)


def _tasks(targets: dict[Path, Entry], transfer: Transfer) -> Iterator[Task]:
    for target, entry in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        yield from entry.tasks(target, transfer)


def check_name(name: str) -> None:
    """Raises LoadError for a name that is not the plain path of a file in a folder."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in name or ":" in name:
        raise _unsafe(name, "leads out of the model's folder, or is no plain path")
    if not digest.is_plain_name(name):
        raise _unsafe(name, "has control characters in its name")
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a pair, as JSON can have it
        raise _unsafe(name, "has a name that is no text") from None
    is_long = any(len(each.encode()) > PART_BYTES_MAX for each in parts)
    if is_long or len(name) > NAME_CHARS_MAX or len(parts) > DEPTH_MAX:
        raise _unsafe(name, "is too long or too deep")


def _unsafe(name: str, why: str) -> LoadError:
    return LoadError(LoadReason.UNSAFE_MODEL, f"the file {name[:100]!r} of the model's source {why}")


def too_large(bounds: Bounds) -> LoadError:
    """The refusal of what is over the bound."""
    return LoadError(LoadReason.MODEL_TOO_LARGE, f"the model is larger than the limit of {bounds.bytes_max} bytes")
