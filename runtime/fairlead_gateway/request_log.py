"""Reads HAProxy's request log and counts it.

The log comes through a named pipe that HAProxy holds open: one line a request, whole (shorter than PIPE_BUF), in a
buffer of a mebibyte that also keeps what happened while no agent was there to read. A datagram socket keeps ten by
default.
"""

import asyncio
import contextlib
import datetime
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from fairlead_gateway import access_log, metrics, trace_field

PIPE_FILE = "requests.fifo"
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_PAUSE_S = 0.05
"""Between two reads: at thousands of requests a second, waking for each would cost more than counting them."""

_LINE_MARK = b"R"
_HOLD_MARK = b"H"
_HOLD_ENDS = {end.value: end for end in metrics.HoldEnd}
"""A line of a hold that goes on, here or in the worker that took over, counts nothing."""

_INTERNAL_KINDS = {
    "S": metrics.InternalKind.SHADOW_COPY,
    "F": metrics.InternalKind.FEEDBACK,
    "P": metrics.InternalKind.PROOF,
    "E": metrics.InternalKind.EXPLANATION,
    "M": metrics.InternalKind.METADATA,
    "G": metrics.InternalKind.OWN,
}
"""The last field of what is counted, which is `-` for a prediction for a client."""

_KINDS_OF_USE = (metrics.InternalKind.EXPLANATION, metrics.InternalKind.METADATA)
"""A model that is asked for these alone is in use, and keeps its replicas."""

_ABORTED = "499"
"""The code of a request whose client disconnected before the answer (nginx's convention)."""

_NO_CODE = "-1"
_LEFT = ("CQ", "CC", "CH")
"""Termination states in which the client disconnected while its request waited for a server, for a connection to it or
for its answer. HAProxy writes the code of an answer that it had nobody to send to, such as 400."""


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


def _ignore_model(model: str) -> None:
    """Nobody listens."""


def count_lines(
    chunk: bytes,
    counted: metrics.Metrics,
    *,
    on_remark: Callable[[], None] = _ignore,
    on_request: Callable[[str], None] = _ignore_model,
    access: access_log.Writer | None = None,
    record: Callable[[access_log.Request], None] | None = None,
) -> bytes:
    """Count each whole line, and return the rest.

    `on_remark` hears of each line that is no request: a server that came up or went down says so, and so does a request
    that is held. `on_request` gets the model of each request of a client that a revision was chosen for.
    `access` gets a line for each request of a client, where HAProxy describes it. `record` gets what may have a span.
    """
    lines = chunk.split(b"\n")
    for line in lines[:-1]:
        fields = line.split(b" ")
        try:
            if fields[0] == _LINE_MARK:
                request = _parse(fields)
                _count(request, counted, on_request)
                if access is not None and request.described:
                    _add_line(request, access)  # after it is counted, as it may not be possible to describe it
                if record is not None and request.traced:
                    record(request)
                continue
            if fields[0] == _HOLD_MARK:
                _count_hold(fields, counted)
        except (ValueError, LookupError):
            counted.count_bad_line()
        on_remark()
    return lines[-1]


def _count_hold(fields: list[bytes], counted: metrics.Metrics) -> None:
    _, model, what, held_ms = (field.decode("ascii") for field in fields)
    if (end := _HOLD_ENDS.get(what)) is not None:
        counted.holds.add(model, end, int(held_ms))


def _parse(fields: list[bytes]) -> access_log.Request:
    # HAProxy may still run with the configuration of an older version or of other flags, whose lines have less.
    _, model, revision, code, termination, duration, received, sent, retries, *more = (
        field.decode("ascii") for field in fields
    )
    kind, *rest = more or ["-"]
    traced = rest.pop(0) if rest and rest[0].startswith(trace_field.MARK) else ""
    return access_log.Request(
        kind=kind,
        model="" if model == "-" else model,
        revision="" if revision == "-" else revision,
        code=_ABORTED if code == _NO_CODE or termination in _LEFT else code,
        termination=termination,
        duration_us=max(0, int(duration)) if duration != "-" else 0,
        received_bytes=int(received),
        sent_bytes=int(sent),
        retries=int(retries.lstrip("+")),
        described="" if rest == ["-"] else " ".join(rest),
        traced=traced,
    )


def _count(request: access_log.Request, counted: metrics.Metrics, on_request: Callable[[str], None]) -> None:
    key = (request.model, request.revision)
    kind = _INTERNAL_KINDS.get(request.kind)
    if kind is not None:
        counted.requests.add_internal(kind, key, request.code)
        if kind in _KINDS_OF_USE and request.revision:
            on_request(request.model)
        return
    counted.requests.add(key, request.code, request.termination, request.duration_us)
    if request.revision:
        counted.measured.add(key, request.code, request.termination, request.duration_us)
        on_request(request.model)
    counted.requests.add_traffic(key, received=request.received_bytes, sent=request.sent_bytes, retries=request.retries)


def _add_line(request: access_log.Request, access: access_log.Writer) -> None:
    line = access_log.format_line(request, datetime.datetime.now(datetime.UTC))
    if line is not None:
        access.add(line)


class Reader:
    """Follows the pipe for as long as it runs."""

    def __init__(
        self,
        descriptor: int,
        counted: metrics.Metrics,
        *,
        on_remark: Callable[[], None] = _ignore,
        on_request: Callable[[str], None] = _ignore_model,
        access: access_log.Writer | None = None,
        record: Callable[[access_log.Request], None] | None = None,
    ) -> None:
        self._on_remark = on_remark
        self._access = access
        self._record = record
        self._on_request = on_request
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
            self._rest = count_lines(
                self._rest + chunk,
                self._metrics,
                on_remark=self._on_remark,
                on_request=self._on_request,
                access=self._access,
                record=self._record,
            )
            if self._access is not None:
                self._access.flush()
