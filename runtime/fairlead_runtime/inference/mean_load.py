"""How much a replica has in hand, as autoscaling wants to know it: averaged over time, not seen at one moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class MeanLoad:
    """Counts predictions from their admission to their answer. Safe to read from another thread.

    Whoever looks now and then at a count sees a quick model idle, even one that never rests: its predictions run within
    one turn of the event loop, and between turns there is none. So the mean is taken: the predictions' times in sum,
    divided by the time that passed (Little's law).
    """

    def __init__(self, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._count = 0
        self._sum_s = 0.0
        self._changed_at_s = self._taken_at_s = clock_s()

    @property
    def count(self) -> int:
        """In hand at this moment."""
        return self._count

    def add(self, number: int) -> None:
        """So many more are in hand; fewer, if negative."""
        with self._lock:
            self._pass()
            self._count += number

    def take_mean(self) -> float:
        """How many were in hand on average since it was last asked."""
        with self._lock:
            self._pass()
            passed_s, sum_s = self._changed_at_s - self._taken_at_s, self._sum_s
            self._taken_at_s, self._sum_s = self._changed_at_s, 0.0
        return sum_s / passed_s if passed_s > 0 else float(self._count)

    def _pass(self) -> None:
        now_s = self._clock_s()
        self._sum_s += self._count * (now_s - self._changed_at_s)
        self._changed_at_s = now_s
