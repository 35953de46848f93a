"""The campaign's own folder: one campaign at a time, and nothing in it that was found with other code."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

CLUSTER = "cluster"


class TakenError(Exception):
    """Another campaign works in the folder; the message says which."""


@contextlib.contextmanager
def held(folder: Path, *, code: str, is_fresh: bool) -> Iterator[None]:
    """The folder is ours alone: empty when asked for or when ``code`` is not what its results are about.

    The lock lies beside the folder, so that nobody empties it who doesn't hold it; the kernel frees it with its holder.
    What a killed campaign's cluster left stays: the next one's start ends those processes by it.

    Raises:
        TakenError: Another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TakenError(f"{folder} is {lock.read().strip() or 'taken'}: wait until it has ended") from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"worked in by process {os.getpid()} since {time.strftime('%H:%M:%S')}")
        lock.flush()
        _empty(folder, code, is_fresh=is_fresh)
        yield


def _empty(folder: Path, code: str, *, is_fresh: bool) -> None:
    version, logs = folder / "version", folder / "logs"
    is_other = not version.exists() or version.read_text() != code
    for path in [*folder.iterdir()] if folder.exists() and (is_fresh or is_other) else []:
        if path.is_dir() and path.name != CLUSTER:
            shutil.rmtree(path)
        elif path.is_file() and not path.name.startswith(CLUSTER):
            path.unlink()
    folder.mkdir(exist_ok=True)
    version.write_text(code)
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
