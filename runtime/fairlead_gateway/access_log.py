"""The access log: one JSON object a line on standard output for each request of a client, after its answer.

Neither bodies nor headers nor the query of a URL are in it. HAProxy writes what it knows of a request behind the fields
that are counted; `FORMAT` is that part of its log format.
"""

import dataclasses
import datetime
import json
import queue
import threading
import urllib.parse
from typing import BinaryIO

from fairlead_gateway import access_metrics

FORMAT = (
    "%[so_name] %ci %[method,bytes(0,16),url_enc] %[var(txn.client),bytes(0,64),url_enc]"
    " %[var(txn.request_id),bytes(0,128),url_enc] %HPO"
)
"""The path comes last: HAProxy cuts a line that is too long at its end. What a client sends before it is bounded."""

PATH_CHARACTERS_MAX = 256
_BATCHES_MAX = 64
"""Of lines that wait for standard output, each with at most what one read of the pipe gave (256 KiB)."""

KINDS = {
    "-": "prediction",
    "F": "feedback",
    "E": "explanation",
    "G": "gateway",
    "M": "metadata",
    "P": "proof",
    "S": "copy",
}
_MODEL_CALL_PREFIX = "/rpc/models/"
_SERVER_CALL_PREFIX = "/rpc/server"
_LISTENER_OF_CALLS = "rpc"
_INTERNAL_LISTENER = "internal"
_END_WITHIN_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A line of HAProxy's request log. Empty texts for what it does not have, as the model of an unknown path.

    `kind` is a letter, or `-` for a prediction. `traced` is the field of `trace_field`, empty without tracing.
    `described` are the fields of `FORMAT`; empty without an access log, and for a request without a span.
    """

    kind: str
    model: str
    revision: str
    code: str
    termination: str
    duration_us: int
    received_bytes: int
    sent_bytes: int
    retries: int
    described: str
    traced: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a client sent, and from where. None for what the request does not have."""

    is_internal: bool
    """Whether it came to the port of the operator and of replicas."""
    is_call: bool
    """Whether it is a gRPC call."""
    address: str
    method: str
    client: str | None
    request_id: str | None
    path: str


def describe(request: Request) -> Description:
    """Read the fields of `FORMAT`.

    Raises:
        ValueError: when there are fewer fields.
    """
    listener, address, method, client, request_id, path = request.described.split(" ", 5)
    is_call = listener == _LISTENER_OF_CALLS
    return Description(
        is_internal=listener == _INTERNAL_LISTENER,
        is_call=is_call,
        address=address,
        method=urllib.parse.unquote(method),
        client=_decode(client),
        request_id=_decode(request_id),
        path=(_find_call(path) if is_call else path)[:PATH_CHARACTERS_MAX],
    )


def format_line(request: Request, now: datetime.datetime) -> str | None:
    """The line of a request, without its end.

    None for what the operator and replicas send, to a port of their own.

    Raises:
        ValueError: when there are fewer fields.
    """
    described = describe(request)
    if described.is_internal:
        return None
    line = {
        "time": now.isoformat(timespec="milliseconds"),
        "requestId": described.request_id,
        "address": described.address,
        "client": described.client,
        "protocol": "grpc" if described.is_call else "http",
        "method": described.method,
        "path": described.path,
        "kind": KINDS[request.kind],
        "model": request.model or None,
        "revision": request.revision or None,
        "code": int(request.code),
        "termination": request.termination,
        "durationMilliseconds": request.duration_us / 1000,
        "receivedBytes": request.received_bytes,
        "sentBytes": request.sent_bytes,
        "retries": request.retries,
    }
    return json.dumps(line, separators=(",", ":"))


def _decode(text: str) -> str | None:
    return None if text in ("-", "") else urllib.parse.unquote(text)


def _find_call(path: str) -> str:
    """Of a gRPC call, whose path HAProxy has made from its model and its method, or of its refusal alone."""
    if path.startswith(_MODEL_CALL_PREFIX):
        return f"/{'/'.join(path.split('/')[-2:])}"
    return path.removeprefix(_SERVER_CALL_PREFIX)


class Writer:
    """Writes lines in a thread of its own, as standard output may not be read for a while: then lines are dropped."""

    def __init__(self, stream: BinaryIO, counted: access_metrics.AccessLog) -> None:
        self._stream = stream
        self._counted = counted
        self._dropped = counted.dropped = 0
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._batches: queue.Queue[bytes | None] = queue.Queue(_BATCHES_MAX)
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        """Keep a line until `flush`."""
        self._lines.append(line)

    def flush(self) -> None:
        """Give the lines to the thread; they are dropped and counted where too many wait."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            self._batches.put_nowait(("\n".join(lines) + "\n").encode())
        except queue.Full:
            self._count_dropped(len(lines))

    def _count_dropped(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines
            self._counted.dropped = self._dropped

    def close(self) -> None:
        """Write what is there, within a second."""
        self.flush()
        try:
            self._batches.put(None, timeout=_END_WITHIN_S)
        except queue.Full:
            return
        self._thread.join(_END_WITHIN_S)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                self._stream.write(batch)
                self._stream.flush()
            except OSError:  # a full disk, or a pipe that is closed
                self._count_dropped(batch.count(b"\n"))
