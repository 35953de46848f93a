"""How much a replica has in hand, as autoscaling wants to know it: averaged over time, not seen at one moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class MeanLoad:
    """The mean number of predictions between admission and answer. Safe to read from another thread.

    A count that is read now and then shows a model with short predictions as idle, even under load: they run within
    one turn of the event loop, and between turns there is none. So this is the mean: the sum of the predictions' times
    divided by the time that passed (Little's law: the mean number is the rate times the mean duration).
    """

    def __init__(self, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._count = 0
        self._sum_s = 0.0
        self._changed_at_s = self._taken_at_s = clock_s()

    @property
    def count(self) -> int:
        """Predictions in progress now."""
        return self._count

    def add(self, number: int) -> None:
        """Add to the number of predictions in progress; subtract if negative."""
        with self._lock:
            self._pass()
            self._count += number

    def take_mean(self) -> float:
        """Average number of predictions in progress since the last call of this function."""
        with self._lock:
            self._pass()
            passed_s, sum_s = self._changed_at_s - self._taken_at_s, self._sum_s
            self._taken_at_s, self._sum_s = self._changed_at_s, 0.0
        return sum_s / passed_s if passed_s > 0 else float(self._count)

    def _pass(self) -> None:
        now_s = self._clock_s()
        self._sum_s += self._count * (now_s - self._changed_at_s)
        self._changed_at_s = now_s
