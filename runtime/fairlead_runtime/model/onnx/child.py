"""Starts a process that works on a model, such as the one that converts it, and bounds it."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
from typing import IO, ClassVar, Protocol, cast

from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import child_process

LOG = logging.getLogger(__name__)
LOG_BYTES_MAX = 4096
PIPE_BYTES = 64 * 1024


class Request(Protocol):
    """What a process is asked for: the module that it runs, what it does in words, and what it may take."""

    module: ClassVar[str]
    what: ClassVar[str]

    @property
    def seconds(self) -> float: ...

    @property
    def threads(self) -> int: ...

    def model_dump_json(self) -> str: ...


class ChildFailedError(Exception):
    """It ended without a record."""

    def __init__(self, why: str) -> None:
        super().__init__(one_sentence(why))


class TookTooLongError(ChildFailedError):
    """It was ended because its time was over."""


def run(asked: Request) -> None:
    """Waits for it; raises ChildFailedError."""
    command = [sys.executable, "-m", asked.module, asked.model_dump_json()]
    environment = child_process.environment(OMP_NUM_THREADS=str(asked.threads), TF_CPP_MIN_LOG_LEVEL="3")
    deadline_s = time.monotonic() + asked.seconds
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            output = _read_end(cast(IO[bytes], process.stdout), deadline_s)
            code = process.wait(max(0.0, deadline_s - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            text = f"{asked.what} took longer than {asked.seconds:.1f} s (FAIRLEAD_CONVERT_SECONDS)"
            raise TookTooLongError(text) from None
        finally:
            process.kill()
    if code == 0:
        return
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    LOG.warning("%s failed:\n%s", asked.what, "\n".join(lines))
    if code == -signal.SIGXCPU:
        raise TookTooLongError(f"{asked.what} took more processor time than it may (FAIRLEAD_CONVERT_SECONDS)")
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
