"""One read for many: whoever asks within a moment shares the same answer, so a thousand keys cost one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fairlead_operator.clients.clock import Clock

T = TypeVar("T")


class SharedRead(Generic[T]):
    """The latest answer of ``fetch``, never older than asked for, and at most one request at a time.

    An answer's age counts from the start of its request: a write that came after that may not be in it.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._answer: tuple[T] | None = None
        self._began_at_s = float("-inf")
        self._not_before_s = float("-inf")

    async def get(self, max_age_s: float) -> T:
        """An answer whose request began at most ``max_age_s`` ago; errors of ``fetch`` come through, unkept."""
        oldest_s = self._clock.monotonic_s() - max_age_s
        async with self._lock:
            if self._answer is None or self._began_at_s < max(oldest_s, self._not_before_s):
                began_at_s = self._clock.monotonic_s()
                self._answer = (await self._fetch(),)
                self._began_at_s = began_at_s
            return self._answer[0]

    def invalidate(self) -> None:
        """Something was written: only a request that begins from now on may answer."""
        self._not_before_s = self._clock.monotonic_s()
