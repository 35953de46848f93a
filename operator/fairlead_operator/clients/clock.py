"""The one place that reads a clock."""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what people read, monotonic time for every duration."""

    def now(self) -> datetime.datetime: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def monotonic_s(self) -> float:
        """Counts on while the machine is suspended, as the Lease does."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
