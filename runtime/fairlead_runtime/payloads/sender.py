"""Sends events one after the other on a thread of its own. The queue is bounded, and no prediction waits for a sink."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from fairlead_runtime.payload_counters import Outcome, PayloadCounters
from fairlead_runtime.payloads.event import Event
from fairlead_runtime.payloads.sink import Sink, SinkError

LOG = logging.getLogger(__name__)
QUEUED_MAX = 256
QUEUED_BYTES_MAX = 16 * 1024 * 1024
PAUSE_S = 1.0
"""After an event that the sink did not take; meanwhile the queue fills."""
LOGGED_EVERY_S = 60.0
"""Failures between two lines of the log are only counted."""


class Sender:
    """`offer` is called on the server's loop alone, `stop` and `join` on any thread."""

    def __init__(self, sink: Sink, write: Callable[[Event], bytes | None], counters: PayloadCounters) -> None:
        self._sink = sink
        self._write = write
        self._counters = counters
        self._queue: deque[Event] = deque()
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._ends_s: float | None = None
        self._next_line_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="fairlead-payloads", daemon=True)
        self._thread.start()

    def offer(self, event: Event) -> None:
        """Queue a copy of an event, or count it as dropped. Never waits for a sink."""
        with self._changed:
            is_full = len(self._queue) >= QUEUED_MAX or self._held_bytes + event.held_bytes > QUEUED_BYTES_MAX
        if is_full:
            self._counters.add(Outcome.QUEUE_FULL)
            return
        # The room stays: nothing else adds to the queue.
        copied = event.copied()
        with self._changed:
            self._queue.append(copied)
            self._held_bytes += copied.held_bytes
            self._changed.notify()

    def stop(self, *, flush_s: float) -> None:
        """Let the thread end once the queue is empty, or after `flush_s` and the event that it is sending then."""
        with self._changed:
            self._ends_s = time.monotonic() + flush_s
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Block until the thread has ended, or for `timeout_s`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (event := self._take()) is not None:
            if not self._deliver(event):
                self._pause()

    def _take(self) -> Event | None:
        """The next event, None when the thread ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ends_s is not None)
            if not self._queue or (self._ends_s is not None and time.monotonic() >= self._ends_s):
                self._counters.add(Outcome.STOPPED, len(self._queue))
                self._queue.clear()
                return None
            event = self._queue.popleft()
            self._held_bytes -= event.held_bytes
            return event

    def _deliver(self, event: Event) -> bool:
        """Whether the sink can be asked again at once."""
        try:
            text = self._write(event)
            if text is None:
                self._counters.add(Outcome.TOO_LARGE)
                return True
            self._sink.send(text)
        except SinkError as error:
            self._counters.add(error.outcome)
            self._log(error)
            return False
        except Exception:
            # The outermost place for one event: later ones are still sent, and the cause is in the log.
            self._counters.add(Outcome.INTERNAL)
            LOG.exception("an event of the payload log could not be sent")
            return False
        self._counters.add(Outcome.SENT)
        return True

    def _log(self, error: SinkError) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_line_s:
            self._next_line_s = now_s + LOGGED_EVERY_S
            LOG.warning("an event of the payload log was not sent (%s): %s", error.outcome.value, error)

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ends_s is not None, PAUSE_S)
