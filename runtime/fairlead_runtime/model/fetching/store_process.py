"""Reads a bucket in a process of its own.

The library for stores keeps listings and errors whole, and takes the memory that an answer's Content-Length asks for: a
store that names 10^12 bytes ends the process that reads it. That must not be the replica.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import child_process, room
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import tree
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance

SCHEMES = ("s3", "gs", "az")
MEMORY_BYTES_MAX = 1024 * room.MIB
"""Of the process: for the overhead that a fetch may have, as the library's objects, and a part for each thread."""
MEMORY_BYTES_LEAST = 256 * room.MIB
"""With less, not even a small model is read: the process and its threads have 100 MiB before the first part comes."""
AT_ONCE = 2
"""So many of these processes run on a node, as each may take memory that the replicas need. Others wait."""
TURN = "bucket"
LIBRARY_THREADS = "2"
"""Of the library itself, each with a stack; it would start one for each processor of the machine."""
GRACE_S = 5.0
"""For the child to say that the time is over, or to end by itself."""
LINE_BYTES_MAX = 64 * 1024

Choose = Callable[[tuple[tree.Entry, ...]], tree.Entry | tuple[tree.Entry, ...]]


def choose_all(listed: tuple[tree.Entry, ...]) -> tuple[tree.Entry, ...]:
    """All that lies below the prefix."""
    return listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the child gets, pickled, on its input. `choose` is a function of a module."""

    uri: str
    into: Path
    bounds: Bounds
    left_s: float
    access: Access
    choose: Choose
    parent: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A line of the child's output, as JSON.

    With `expects` (bytes) it waits for a line before it goes on; any other message is its last one. Without a field,
    all was written.
    """

    expects: int | None = None
    reason: str | None = None
    sentence: str = ""
    errno: int | None = None
    invalid: str | None = None

    def check(self) -> None:
        """Raises what the child met."""
        if self.reason is not None:
            raise LoadError(LoadReason(self.reason), self.sentence)
        if self.errno is not None:
            raise OSError(self.errno, os.strerror(self.errno))
        if self.invalid is not None:
            raise ValueError(self.invalid)


def download(
    uri: str,
    into: Path,
    allowance: Allowance,
    access: Access,
    cache: Cache,
    *,
    choose: Choose = choose_all,
) -> None:
    """Writes an object as the new file `into`, or all objects below a prefix into a new folder; raises LoadError.

    The cache makes room for the bytes that will come, and `choose` says which part of a prefix is meant. A full disk is
    the caller's matter: its OSError is passed on.
    """
    with cache.exclusive(TURN, allowance.left_s(), what="reading from a bucket", at_once=AT_ONCE):
        _read(uri, into, allowance, access, cache.make_room, choose)


def _read(
    uri: str, into: Path, allowance: Allowance, access: Access, expect: Callable[[int], None], choose: Choose
) -> None:
    need = room.Need(
        what="reading from a bucket", least_bytes=MEMORY_BYTES_LEAST, most_bytes=MEMORY_BYTES_MAX, at_once=AT_ONCE
    )
    try:
        memory_bytes = room.find(need)
    except room.NoRoomError as error:
        raise LoadError(LoadReason.FETCH_FAILED, f"{uri}: {error}") from None
    left_s = allowance.left_s()
    deadline_s = time.monotonic() + left_s + GRACE_S
    job = Job(
        uri=uri,
        into=into,
        bounds=allowance.bounds,
        left_s=left_s,
        access=access,
        choose=choose,
        parent=os.getpid(),
        memory_bytes=memory_bytes,
    )
    command = [sys.executable, "-m", "fairlead_runtime.model.fetching.store_child"]
    process = subprocess.Popen(
        command,
        env=child_process.environment(TOKIO_WORKER_THREADS=LIBRARY_THREADS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with process:
        try:
            last = _follow(process, pickle.dumps(job), deadline_s, expect)
            if last is None:
                raise _ended(uri, _wait(process), memory_bytes)
        except TimeoutError:
            allowance.check()
            raise
        finally:
            process.kill()
    last.check()


def _follow(
    process: subprocess.Popen[bytes], job: bytes, deadline_s: float, expect: Callable[[int], None]
) -> Message | None:
    """Its last message, None where it ended without one; raises TimeoutError."""
    to_child, from_child = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    with suppress(BrokenPipeError):  # It ended; what it wrote before is still there.
        to_child.write(job)
    while line := _read_line(from_child, deadline_s):
        message = Message(**json.loads(line))
        if message.expects is None:
            return message
        expect(message.expects)
        with suppress(BrokenPipeError):
            to_child.write(b"\n")
    return None


def _read_line(output: IO[bytes], deadline_s: float) -> bytes:
    """The next line, which is all that the child has written; nothing where it ended before the line did."""
    line = b""
    poller = select.poll()
    poller.register(output, select.POLLIN)
    while (left_s := deadline_s - time.monotonic()) > 0 and poller.poll(left_s * 1000):
        piece = output.read(LINE_BYTES_MAX)
        line += piece
        if line.endswith(b"\n"):
            return line
        if not piece or len(line) > LINE_BYTES_MAX:
            return b""
    raise TimeoutError


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The code of a process that says no more, and so has nothing left to do."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(GRACE_S)
    process.kill()
    return process.wait()


def _ended(uri: str, code: int, memory_bytes: int) -> LoadError:
    how = f"code {code}; its output has the reason"
    if code < 0:
        how = f"signal {-code}; a store whose answers need more memory than {memory_bytes} bytes does that"
    return LoadError(LoadReason.FETCH_FAILED, f"{uri}: the process that reads the store ended with {how}")
