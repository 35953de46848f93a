"""Reads HAProxy's request log and counts it.

The log comes through a named pipe that HAProxy holds open: one line a request, whole (shorter than PIPE_BUF), in a
buffer of a mebibyte that also keeps what happened while no agent was there to read. A datagram socket keeps ten by
default.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from fairlead_gateway import metrics

PIPE_FILE = "requests.fifo"
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_PAUSE_S = 0.05
"""Between two reads: at thousands of requests a second, waking for each would cost more than counting them."""

_LINE_MARK = b"R"
_INTERNAL_KINDS = {
    "S": metrics.InternalKind.SHADOW_COPY,
    "F": metrics.InternalKind.FEEDBACK,
    "P": metrics.InternalKind.PROOF,
}
"""The last field of a line, which is `-` for what a client asked of a model."""

_ABORTED = "499"
"""The code of a request whose client disconnected before the answer (nginx's convention; HAProxy writes -1)."""


def open_pipe(state_dir: Path) -> int:
    """Make the pipe if it isn't there, and open the end that HAProxy inherits.

    It is opened for reading too, so that writing never meets a pipe without a reader when the agent is away.
    """
    path = state_dir / PIPE_FILE
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    # The system may allow less; then it holds less.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return descriptor


def _ignore() -> None:
    """Nobody listens."""


def count_lines(chunk: bytes, counted: metrics.Metrics, *, on_remark: Callable[[], None] = _ignore) -> bytes:
    """Count each whole line, and return the rest.

    `on_remark` hears of each line that is no request: a server that came up or went down says so.
    """
    lines = chunk.split(b"\n")
    for line in lines[:-1]:
        fields = line.split(b" ")
        if fields[0] != _LINE_MARK:
            on_remark()
            continue
        try:
            _count(fields, counted)
        except (ValueError, IndexError):
            counted.count_bad_line()
    return lines[-1]


def _count(fields: list[bytes], counted: metrics.Metrics) -> None:
    # HAProxy may still run with the configuration of an older version, whose lines have no kind.
    _, model, revision, code, termination, duration, received, sent, retries, *more = (
        field.decode("ascii") for field in fields
    )
    kind = more[0] if more else "-"
    key = ("" if model == "-" else model, "" if revision == "-" else revision)
    duration_us = max(0, int(duration)) if duration != "-" else 0
    code = _ABORTED if code == "-1" else code
    if kind in _INTERNAL_KINDS:
        counted.requests.add_internal(_INTERNAL_KINDS[kind], key, code)
        return
    counted.requests.add(key, code, termination, duration_us)
    if key[1]:
        counted.measured.add(key, code, termination, duration_us)
    counted.requests.add_traffic(key, received=int(received), sent=int(sent), retries=int(retries.lstrip("+")))


class Reader:
    """Follows the pipe for as long as it runs."""

    def __init__(self, descriptor: int, counted: metrics.Metrics, *, on_remark: Callable[[], None] = _ignore) -> None:
        self._on_remark = on_remark
        self._descriptor = descriptor
        self._metrics = counted
        self._rest = b""

    async def run(self) -> None:
        """Read until cancelled."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        while True:
            loop.add_reader(self._descriptor, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._descriptor)
            readable.clear()
            self.drain()
            await asyncio.sleep(_PAUSE_S)

    def drain(self) -> None:
        """Count everything that is there."""
        while True:
            try:
                chunk = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            self._rest = count_lines(self._rest + chunk, self._metrics, on_remark=self._on_remark)
