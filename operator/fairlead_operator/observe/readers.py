"""What every background reader shares: a clock, a pace, and who hears of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import source
from fairlead_operator.state import keys

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
    """``is_hot`` says whether a key of a namespace waits; ``on_answer`` hears of each changed answer in a namespace."""

    clock: Clock
    idle_interval_s: float = 5.0
    is_hot: Callable[[str], bool] = never
    on_answer: Callable[[str], None] = ignore
    on_revision: Callable[[keys.ModelKey], None] = ignore_model
    """Hears of each model one of whose ControllerRevisions changed."""
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = start

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
            idle_interval_s=self.idle_interval_s,
            is_hot=lambda: self.is_hot(namespace),
            on_answer=lambda: self.on_answer(namespace),
            is_same=is_same,
        )
        made.cost_s = cost_s
        return made
