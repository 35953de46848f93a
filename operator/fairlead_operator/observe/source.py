"""One thing outside that one task reads again and again, and its last answer with a date.

Whoever needs the answer takes the last one: nothing waits for the network, and a source that hangs costs nobody but
those who need it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock

FIRST_INTERVAL_S = 0.25
QUESTIONS_MAX = 2
NEWS_PAUSE_S = 0.03
"""The least pause between two reads of a source that says itself when it changes."""
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


class _Pause(enum.Enum):
    """How a pause between two reads ended."""

    OVER = enum.auto()
    CHANGED = enum.auto()
    HURRIED = enum.auto()


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
        self.await_change: Callable[[float], Awaitable[bool]] | None = None
        """Waits up to so many seconds until the other side says that something changed; False where it didn't."""
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

    def hurry(self, interval_s: float = FIRST_INTERVAL_S) -> None:
        """Somebody begins to wait for a change: read now, then after ``interval_s``, then more and more seldom."""
        self._interval_s = interval_s
        self._wake.set()

    async def run(self) -> None:
        """Read for ever. Exactly one request is under way at a time."""
        while True:
            self._wake.clear()
            began_at_s = self._clock.monotonic_s()
            try:
                await self.read_once()
            except Exception:
                # An outermost loop: a bug that one answer meets must not end the reading.
                log.exception("an answer could not be worked in")
            rest_s = BUSY_RATIO * self.cost_s()
            limit_s = max(self._longest_interval_s(), rest_s)
            self._interval_s = min(self._interval_s, limit_s)
            read_s = self._clock.monotonic_s() - began_at_s
            # A thousand models that hurry would have a large answer taken apart again and again.
            await asyncio.sleep(min(rest_s, self._interval_s))
            match await self._pause(self._interval_s):
                case _Pause.OVER:
                    self._interval_s = min(limit_s, self._interval_s * GROWTH)
                case _Pause.CHANGED:
                    self._interval_s = min(limit_s, FIRST_INTERVAL_S)
                    # What changes all the time must not keep either side busy.
                    await asyncio.sleep(max(NEWS_PAUSE_S, BUSY_RATIO * read_s))
                case _Pause.HURRIED:
                    pass

    async def _pause(self, interval_s: float) -> _Pause:
        """Until it is time to read again, or there is a reason to read sooner."""
        end_s = self._clock.monotonic_s() + interval_s
        hurried = asyncio.ensure_future(self._wake.wait())
        try:
            # The first question may only learn how things are now; one that isn't held is not asked again and again.
            for _ in range(QUESTIONS_MAX):
                changed = asyncio.ensure_future(self._hear(end_s - self._clock.monotonic_s()))
                try:
                    await asyncio.wait((hurried, changed), return_when=asyncio.FIRST_COMPLETED)
                    if hurried.done():
                        return _Pause.HURRIED
                    if changed.result():
                        return _Pause.CHANGED
                    if changed.result() is None:
                        break
                finally:
                    changed.cancel()
            left_s = max(0.0, end_s - self._clock.monotonic_s())
            await asyncio.wait((hurried,), timeout=left_s)
            return _Pause.HURRIED if hurried.done() else _Pause.OVER
        finally:
            hurried.cancel()

    async def _hear(self, wait_s: float) -> bool | None:
        """None where the other side can't say it: it is read as often as one that says nothing."""
        if self.await_change is None or wait_s <= 0:
            return None
        try:
            return await self.await_change(wait_s)
        except errors.FairleadError:
            return None
        except Exception:
            # As for reading: a bug must not end it.
            log.exception("the question for changes failed unexpectedly")
            return None

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
