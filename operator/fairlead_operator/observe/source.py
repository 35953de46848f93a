"""One thing outside that one task reads again and again, and its last answer with a date.

Whoever needs the answer takes the last one: nothing waits for the network, and a source that hangs costs nobody but
those who need it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead_operator.clients.clock import Clock

FIRST_INTERVAL_S = 0.25
GROWTH = 1.3
BUSY_RATIO = 4.0
"""The pause after an answer is so many times as long as it took to work it in."""
PENDING_MAX_S = 5.0
"""So long is an answer awaited that began after a write of ours; then nothing is known."""
MAX_AGE_S = 30.0
"""An older answer says nothing about now."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """``began_at_s`` is when its request began, on the monotonic clock: what was written later may not be in it."""

    value: T
    began_at_s: float


@dataclass(frozen=True, slots=True)
class Pending:
    """No answer is there yet, or none that began after our last write; one is on its way."""


@dataclass(frozen=True, slots=True)
class TooOld:
    """There is no answer that says anything about now."""

    reason: str


PENDING = Pending()


def is_same(one: object, other: object) -> bool:
    """Clients give the same object again for the same bytes, so that nobody compares a thousand applications."""
    return one is other or one == other


class Source(Generic[T]):
    """``read`` gives an answer, also where something could not be read: it doesn't raise.

    After a change it is read often, then more and more seldom: up to ``longest_interval_s``, which is asked each time.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        *,
        clock: Clock,
        longest_interval_s: Callable[[], float],
        on_answer: Callable[[], None],
        is_same: Callable[[T, T], bool] = is_same,
    ) -> None:
        """``on_answer`` is called after each answer that differs from the one before, or was awaited."""
        self._is_same = is_same
        self.cost_s: Callable[[], float] = lambda: 0.0
        """How long taking apart the last answer kept the event loop: the pause after it is so much longer."""
        self._read = read
        self._clock = clock
        self._longest_interval_s = longest_interval_s
        self._on_answer = on_answer
        self._answer: Answer[T] | None = None
        self._pending_since_s = clock.monotonic_s()
        self._not_before_s = float("-inf")
        self._is_pending = True
        self._interval_s = FIRST_INTERVAL_S
        self._wake = asyncio.Event()

    def last(self) -> Answer[T] | Pending | TooOld:
        """The last answer, also while one that began after our last write is on its way."""
        if self._is_pending and self._answer is not None:
            is_young = self._clock.monotonic_s() - self._answer.began_at_s <= MAX_AGE_S
            return self._answer if is_young else TooOld(f"no answer for {MAX_AGE_S:.0f} s")
        return self.latest()

    def latest(self) -> Answer[T] | Pending | TooOld:
        """The last answer; Pending while none has come that began after our last write."""
        now_s = self._clock.monotonic_s()
        if self._is_pending:
            waited_s = now_s - self._pending_since_s
            return PENDING if waited_s <= PENDING_MAX_S else TooOld(f"no answer for {waited_s:.0f} s")
        if self._answer is None or now_s - self._answer.began_at_s > MAX_AGE_S:
            return TooOld(f"no answer for {MAX_AGE_S:.0f} s")
        return self._answer

    def expire(self) -> None:
        """Something was written: only an answer to a request that begins from now on counts."""
        self._not_before_s = self._clock.monotonic_s()
        if not self._is_pending:
            self._pending_since_s = self._not_before_s
        self._is_pending = True
        self.hurry()

    def hurry(self) -> None:
        """Somebody begins to wait for a change."""
        self._interval_s = FIRST_INTERVAL_S
        self._wake.set()

    async def run(self) -> None:
        """Read for ever. Exactly one request is under way at a time."""
        while True:
            self._wake.clear()
            try:
                await self.read_once()
            except Exception:
                # An outermost loop: a bug that one answer meets must not end the reading.
                log.exception("an answer could not be worked in")
            limit_s = max(self._longest_interval_s(), BUSY_RATIO * self.cost_s())
            self._interval_s = min(self._interval_s, limit_s)
            try:
                await asyncio.wait_for(self._wake.wait(), self._interval_s)
            except TimeoutError:
                self._interval_s = min(limit_s, self._interval_s * GROWTH)

    async def read_once(self) -> None:
        """One request; its answer counts unless something was written while it was under way."""
        began_at_s = self._clock.monotonic_s()
        value = await self._read()
        if began_at_s < self._not_before_s:
            self._wake.set()  # it may lack what was written meanwhile: once more, at once
            return
        came_at_s = self._clock.monotonic_s()
        was_awaited, before = self._is_pending, self._answer
        self._answer = Answer(value=value, began_at_s=began_at_s)
        self._is_pending = False
        if was_awaited or before is None or not self._is_same(before.value, value):
            self._interval_s = FIRST_INTERVAL_S
            self._on_answer()
            busy_s = self._clock.monotonic_s() - came_at_s + self.cost_s()
            self._interval_s = max(self._interval_s, BUSY_RATIO * busy_s)
