"""A clock that a test turns."""

from __future__ import annotations

import datetime


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.seconds, datetime.UTC)

    def monotonic_s(self) -> float:
        return self.seconds
