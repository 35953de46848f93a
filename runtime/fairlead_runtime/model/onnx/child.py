"""Starts a process that works on a model, such as the one that converts it, and bounds it."""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, ClassVar, Protocol, cast

from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import child_process, room
from fairlead_runtime.model.cache import Cache

LOG = logging.getLogger(__name__)
LOG_BYTES_MAX = 4096
PIPE_BYTES = 64 * 1024
MODULES = ("fairlead_runtime.model.onnx.convert", "fairlead_runtime.optimization.make")
"""Of the processes that share the memory of a node: one conversion and one optimization at a time."""
STARTING = "memory of a process"
"""The name under which processes of a node are started one after the other, so that each sees what others may take."""
_POLL_S = 0.5


class Request(Protocol):
    """What a process is asked for: the module that it runs, what it does in words, and what it may take."""

    module: ClassVar[str]
    what: ClassVar[str]

    @property
    def seconds(self) -> float: ...

    @property
    def folder(self) -> Path: ...

    @property
    def data_bytes(self) -> int: ...

    @property
    def threads(self) -> int: ...

    def model_dump_json(self) -> str: ...


class ChildFailedError(Exception):
    """It ended without a record."""

    def __init__(self, why: str) -> None:
        super().__init__(one_sentence(why))


class TookTooLongError(ChildFailedError):
    """It was ended because its time, of so many `seconds`, was over."""

    def __init__(self, why: str, *, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


def run_in_room(cache: Cache, need: room.Need, ask: Callable[[int], Request], deadline_s: float) -> None:
    """Runs what `ask` asks for with so many bytes, those that are left to it.

    Waits where processes beside it may come to take them. Raises ChildFailedError, NoRoomError, and LoadError where
    others of the node don't let it start.
    """
    need = dataclasses.replace(need, beside=room.Others(modules=MODULES, folder=cache.root))
    while True:
        with ExitStack() as turn:
            left_s = max(0.0, deadline_s - time.monotonic())
            turn.enter_context(cache.exclusive(STARTING, left_s, what="starting a process"))
            try:
                data_bytes = room.find(need)
            except room.NoRoomError as error:
                if not error.is_promised or time.monotonic() > deadline_s:
                    raise
            else:
                return run(ask(data_bytes), when_started=turn.close)
        time.sleep(_POLL_S)


def run(asked: Request, when_started: Callable[[], None] = lambda: None) -> None:
    """Waits for it; raises ChildFailedError. What it writes as temporary files is removed, however it ends."""
    with tempfile.TemporaryDirectory(prefix="temporary-", dir=asked.folder) as temporary:
        _run(asked, temporary, when_started)


def _run(asked: Request, temporary: str, when_started: Callable[[], None]) -> None:
    command = [sys.executable, "-m", asked.module, asked.model_dump_json()]
    environment = child_process.environment(
        OMP_NUM_THREADS=str(asked.threads), TF_CPP_MIN_LOG_LEVEL="3", TMPDIR=temporary
    )
    deadline_s = time.monotonic() + asked.seconds
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            # It sets this one by itself as well, but others look at it from now on.
            with suppress(PermissionError):  # as in a sandbox that lets no process change another one
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (asked.data_bytes, asked.data_bytes))
            when_started()
            output = _read_end(cast(IO[bytes], process.stdout), deadline_s)
            code = process.wait(max(0.0, deadline_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            text = f"{asked.what} took longer than {asked.seconds:.1f} s (FAIRLEAD_CONVERT_SECONDS)"
            raise TookTooLongError(text, seconds=asked.seconds) from None
        finally:
            process.kill()
    if code == 0:
        return
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    LOG.warning("%s failed:\n%s", asked.what, "\n".join(lines))
    if code == -signal.SIGXCPU:
        text = f"{asked.what} took more processor time than it may (FAIRLEAD_CONVERT_SECONDS)"
        raise TookTooLongError(text, seconds=asked.seconds)
    if code < 0:
        raise ChildFailedError(f"{asked.what} was ended by signal {-code}")
    last = lines[-1] if lines else "no output"
    raise ChildFailedError(f"{asked.what} failed: {last}")


def _read_end(output: IO[bytes], deadline_s: float) -> bytes:
    """The end of what it writes, once it writes no more; raises TimeoutError.

    It can write without an end, and a file of that would fill the node's disk.
    """
    end = b""
    poller = select.poll()
    poller.register(output, select.POLLIN)
    while (left_s := deadline_s - time.monotonic()) > 0 and poller.poll(left_s * 1000):
        piece = os.read(output.fileno(), PIPE_BYTES)
        if not piece:
            return end
        end = (end + piece)[-LOG_BYTES_MAX:]
    raise TimeoutError
