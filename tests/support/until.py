"""Wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.05
POLL_MAX_S = 0.2
_PAUSE_PART = 0.1
"""Of the time waited so far. A long wait checks less often, since each check takes processor time from other tests."""


def until(
    condition: Callable[[], T],
    what: str,
    *,
    deadline_s: float = 400,
    poll_s: float | None = None,
    explain: Callable[[], object] = str,
) -> T:
    """The first true value of ``condition``; fails with what was awaited, the last value, and the explanation."""
    begun_s = time.monotonic()
    while not (value := condition()):
        waited_s = time.monotonic() - begun_s
        if waited_s > deadline_s:
            raise AssertionError(f"not within {deadline_s} s: {what}; last: {value!r}\n{explain()}")
        time.sleep(_pause_s(waited_s) if poll_s is None else poll_s)
    return value


def _pause_s(waited_s: float) -> float:
    """The time until the next check, between POLL_S and POLL_MAX_S."""
    return min(max(POLL_S, _PAUSE_PART * waited_s), POLL_MAX_S)
