"""What every background reader shares: a clock, a pace, and who hears of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import source
from fairlead_operator.state import keys

HOT_INTERVAL_S = 2.0
"""How often a source is read at least while a key of its namespace waits for something on its way."""
JUDGED_INTERVAL_S = 0.5
"""The same while a revision with traffic is judged: a replica that crashes is replaced within two seconds, and must be
seen while it is missing."""

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(coroutine)


def never(_namespace: str) -> bool:
    return False


def ignore(_namespace: str) -> None:
    """Nobody waits."""


def ignore_model(_key: keys.ModelKey) -> None:
    """Nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """``is_hot`` says whether a key of a namespace waits, ``is_judged`` whether a revision with traffic is judged.

    ``on_answer`` hears of each changed answer in a namespace.
    """

    clock: Clock
    idle_interval_s: float = 5.0
    is_hot: Callable[[str], bool] = never
    is_judged: Callable[[str], bool] = never
    on_answer: Callable[[str], None] = ignore
    on_revision: Callable[[keys.ModelKey], None] = ignore_model
    """Hears of each model one of whose ControllerRevisions changed."""
    on_route: Callable[[keys.ModelKey], None] = ignore_model
    """Hears of each model whose route changed."""
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = start

    def longest_interval_s(self, namespace: str) -> float:
        """The pause between two reads of a source that does not change."""
        if self.is_judged(namespace):
            return min(JUDGED_INTERVAL_S, self.idle_interval_s)
        return min(HOT_INTERVAL_S, self.idle_interval_s) if self.is_hot(namespace) else self.idle_interval_s

    def make_source(
        self,
        namespace: str,
        read: Callable[[], Awaitable[T]],
        is_same: Callable[[T, T], bool] = source.is_same,
        cost_s: Callable[[], float] = lambda: 0.0,
    ) -> source.Source[T]:
        made = source.Source(
            read,
            clock=self.clock,
            longest_interval_s=lambda: self.longest_interval_s(namespace),
            on_answer=lambda: self.on_answer(namespace),
            is_same=is_same,
        )
        made.cost_s = cost_s
        return made
