"""Spans between aware UTC times; the clock itself is handed in."""

from __future__ import annotations

import datetime


def elapsed_s(since: datetime.datetime, now: datetime.datetime) -> float:
    """Seconds that passed; never negative, as a clock may step back."""
    return max(0.0, (now - since).total_seconds())


def whole_second(now: datetime.datetime) -> datetime.datetime:
    """The time as the status keeps it, so that a value equals itself after a round trip."""
    return now.astimezone(datetime.UTC).replace(microsecond=0)
