"""Wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.05


def until(
    condition: Callable[[], T],
    what: str,
    *,
    deadline_s: float = 400,
    poll_s: float = POLL_S,
    explain: Callable[[], object] = str,
) -> T:
    """The first true value of ``condition``; fails with what was awaited, the last value, and the explanation."""
    end_s = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {deadline_s} s: {what}; last: {value!r}\n{explain()}")
        time.sleep(poll_s)
    return value
