"""What one fetch may take of the network, whatever its servers send: time, and bytes beside the model's content.

A library reads listings, heads and errors of any size, and as many of them as a server has. So each connection of a
fetch counts here, and ends with it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.bounds import Bounds

ANSWER_BYTES = 16 * 1024
"""What the head of an answer and all that belongs to it may have, for each file or part that came."""


class Allowance:
    """`total_s` for all requests together, and `overhead_bytes_max` of what is not content.

    Every byte counts when it passes, and content takes twice its size off again, but never below nothing: content that
    came buys no other bytes. So what a library holds in memory is bounded, whatever a server calls its size.
    """

    def __init__(self, bounds: Bounds, left_s: float) -> None:
        self.bounds = bounds
        self._deadline_s = time.monotonic() + left_s
        self._overhead = 0
        self._failure: LoadError | None = None
        self._connections: set[socket.socket] = set()
        self._lock = Lock()

    def left_s(self) -> float:
        """Seconds, 0 when the time is over."""
        return max(0.0, self._deadline_s - time.monotonic())

    def check(self, last: str = "") -> None:
        """Raises LoadError if the fetch must end; `last` is what went wrong before its time was over."""
        if self._failure is not None:
            raise self._failure
        if not self.left_s():
            why = f": {last}" if last else ""
            raise LoadError(
                LoadReason.FETCH_FAILED,
                f"the model was not read within {self.bounds.total_s:g} s (FAIRLEAD_FETCH_TOTAL_SECONDS){why}",
            )

    def take(self, count: int) -> None:
        """Counts bytes of a connection; raises LoadError, and ends all connections, where they are too many."""
        with self._lock:
            self._overhead += count
            if self._overhead > self.bounds.overhead_bytes_max and self._failure is None:
                self._failure = LoadError(
                    LoadReason.FETCH_FAILED,
                    f"the model's source sent more than {self.bounds.overhead_bytes_max} bytes that are not the "
                    "model's content, such as listings and errors",
                )
        if self._failure is not None:
            self.end_connections()
            raise self._failure

    def release(self, count: int) -> None:
        """Of the bytes that were taken, so many were content."""
        with self._lock:
            self._overhead = max(0, self._overhead - 2 * count)

    @contextmanager
    def ending(self, connection: socket.socket) -> Iterator[None]:
        """While the block runs, the connection ends with the fetch; raises LoadError if that has ended."""
        with self._lock:
            self._connections.add(connection)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)

    def end_connections(self) -> None:
        """Both ends see that they are closed, also one that waits in a read."""
        with self._lock:
            for each in self._connections:
                # Not by a method of TLS, which another thread may be within.
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)


@contextmanager
def starting(bounds: Bounds, left_s: float | None = None) -> Iterator[Allowance]:
    """The allowance of a fetch, whose time begins now, or has `left_s` left; at its end no connection is left open."""
    time_s = bounds.total_s if left_s is None else left_s
    allowance = Allowance(bounds, time_s)
    timer = Timer(time_s, allowance.end_connections)
    timer.daemon = True
    timer.start()
    try:
        yield allowance
    finally:
        timer.cancel()
        allowance.end_connections()
