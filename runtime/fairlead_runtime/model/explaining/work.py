"""How the work of one explanation is cut into calls of the model, and when it ends before its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

ROWS_PER_CALL = 64
ELEMENTS_PER_CALL = 1 << 18
"""Numbers of the input, and of the scores, in one call. A gradient keeps what each layer makes of them."""


class AbandonedError(Exception):
    """The answer is no longer awaited: its client has gone, or its time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`is_awaited` is asked before each call. Without `shares_calls` each call has one row.

    `classes` is the number of scores that the model gives for each row.
    """

    is_awaited: Callable[[], bool]
    shares_calls: bool
    classes: int = 1

    def parts(self, count: int, *, elements: int) -> Iterator[slice]:
        """The parts of `count` rows of so many elements, one for each call; raises AbandonedError."""
        size = min(ROWS_PER_CALL, max(1, ELEMENTS_PER_CALL // max(elements, self.classes))) if self.shares_calls else 1
        for start in range(0, count, size):
            self.check()
            yield slice(start, min(start + size, count))

    def check(self) -> None:
        """Raises AbandonedError where nobody waits for the answer."""
        if not self.is_awaited():
            raise AbandonedError
