"""The keyed work queue: each key once in it and in one worker's hands, with its own backoff, taken in turn.

Only keys travel, never events: a worker reads the world itself, so a thousand events are one pass. A key that failed
is not taken before its delay is over, however often it is added; only ``add_now`` is stronger.
"""

from __future__ import annotations

import asyncio
import collections
import heapq
import itertools
import random
import sys
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
JITTER_RATIO = 0.2
WAIT_POLL_S = 0.02

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Not thread-safe: one event loop. Time is the loop's, so a test can make it virtual."""

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        lane_of: Callable[[K], Hashable] = lambda _: "",
        lane_limit: int = sys.maxsize,
    ) -> None:
        """Lanes are served in turn, and at most ``lane_limit`` keys of one are in work at a time."""
        self._lane_of = lane_of
        self._lane_limit = lane_limit
        self._lanes: collections.OrderedDict[Hashable, collections.OrderedDict[K, float]] = collections.OrderedDict()
        self._in_work: collections.Counter[Hashable] = collections.Counter()
        self.on_wait: Callable[[float], None] = lambda _: None
        """Gets the seconds that each key waited to be taken."""
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._changed: set[K] = set()  # while in work: what the pass has read may be older than the change
        self._due_at_s: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._not_before_s: dict[K, float] = {}
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret

    def __len__(self) -> int:
        """Keys that wait to be taken now (not those whose time has not come)."""
        return sum(map(len, self._lanes.values()))

    @property
    def busy(self) -> frozenset[K]:
        return frozenset(self._busy)

    def add(self, key: K) -> None:
        """Have the key taken soon, but not before the delay of a failure is over; while it is in work, after that."""
        left_s = self._not_before_s.get(key, 0.0) - asyncio.get_running_loop().time()
        if left_s > 0 and key not in self._busy:
            self.add_after(key, left_s)
        else:
            self._add(key)

    def add_now(self, key: K) -> None:
        """Have the key taken soon although it failed: somebody changed what it failed at. Its failures still count."""
        self._not_before_s.pop(key, None)
        if key in self._busy:
            self._changed.add(key)
        self._add(key)

    def forgive(self, key: K) -> None:
        """The delay of its failure is over; nothing is queued. What it failed at may have changed."""
        self._not_before_s.pop(key, None)

    def _add(self, key: K) -> None:
        if key in self._busy:
            self._again.add(key)
        else:
            lane = self._lanes.setdefault(self._lane_of(key), collections.OrderedDict())
            lane.setdefault(key, asyncio.get_running_loop().time())
            self._wake.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have the key taken in ``delay_s``: at an earlier date that it already has, but after a failure's delay."""
        now_s = asyncio.get_running_loop().time()
        due_at_s = max(now_s + delay_s, self._not_before_s.get(key, now_s))
        if due_at_s <= now_s:
            self._add(key)
            return
        if self._due_at_s.get(key, due_at_s + 1) <= due_at_s:
            return
        self._due_at_s[key] = due_at_s
        heapq.heappush(self._timers, (due_at_s, next(self._order), key))
        self._arm()

    def add_failed(self, key: K, *, first_s: float = BACKOFF_FIRST_S, least_s: float = 0.0) -> float:
        """Have the key taken again after its own, growing, jittered delay; returns the delay in seconds.

        ``first_s`` is the delay of the first failure in a row; ``least_s`` is what the other side asked for.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s = min(BACKOFF_MAX_S, first_s * 2.0 ** min(failures, 30))
        delay_s = max(least_s, delay_s * (1 + self._rng.uniform(-JITTER_RATIO, JITTER_RATIO)))
        self._not_before_s[key] = asyncio.get_running_loop().time() + delay_s
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: K) -> None:
        """The key's next failure starts from the first delay again."""
        self._failures.pop(key, None)
        self._not_before_s.pop(key, None)

    async def take(self) -> K | None:
        """The key that waited longest in the lane whose turn it is, or None once the queue is closed.

        Pair it with ``done``.
        """
        while not self._closed:
            if (lane := self._next_lane()) is not None:
                key, since_s = self._lanes[lane].popitem(last=False)
                if not self._lanes[lane]:
                    del self._lanes[lane]
                self.on_wait(asyncio.get_running_loop().time() - since_s)
                self._in_work[lane] += 1
                self._busy.add(key)
                # The pass about to start answers every date set before it; it sets its own next one.
                self._due_at_s.pop(key, None)
                return key
            self._wake.clear()
            await self._wake.wait()
        return None

    def _next_lane(self) -> Hashable:
        """The lane whose turn it is, and which goes to the end of the line; None where none has a key to give."""
        for lane in self._lanes:
            if self._in_work[lane] < self._lane_limit:
                self._lanes.move_to_end(lane)
                return lane
        return None

    async def wait_below(self, count: int) -> None:
        """Return when fewer keys than this wait to be taken."""
        while len(self) >= count and not self._closed:
            await asyncio.sleep(WAIT_POLL_S)

    def done(self, key: K) -> None:
        self._busy.discard(key)
        lane = self._lane_of(key)
        self._in_work[lane] -= 1
        if self._in_work[lane] <= 0:
            del self._in_work[lane]
        self._wake.set()
        if key in self._again:
            self._again.discard(key)
            if key in self._changed:
                self._changed.discard(key)
                self._not_before_s.pop(key, None)
            self.add(key)

    def close(self) -> None:
        """Give out no more keys; those in work are finished by their workers."""
        self._closed = True
        self._wake.set()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._timers and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(self._timers[0][0], self._ring)

    def _ring(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now_s:
            due_at_s, _, key = heapq.heappop(self._timers)
            if self._due_at_s.get(key) == due_at_s:
                del self._due_at_s[key]
                self._add(key)
        self._arm()


async def work(queue: KeyedQueue[K], handle: Callable[[K], Awaitable[float | None]]) -> None:
    """One worker: take keys until the queue is closed. ``handle`` doesn't raise; it says when to look again."""
    while (key := await queue.take()) is not None:
        try:
            delay_s = await handle(key)
        finally:
            queue.done(key)
        if delay_s is not None:
            queue.add_after(key, delay_s)
