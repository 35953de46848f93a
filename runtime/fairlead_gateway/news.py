"""What the operator waits for in place of asking again and again: a version that changes when something changed.

Source: docs/contracts.md, "Gateway → operator: the admin port".
"""

import asyncio

WAIT_S_MAX = 5.0
WAITING_MAX = 64
"""So many questions are held at a time; more are answered at once."""


class News:
    """Counts changes. Lives on one event loop."""

    def __init__(self, epoch: str) -> None:
        """`epoch` names this process: the count of another one says nothing."""
        self._epoch = epoch
        self._count = 0
        self._changed = asyncio.Event()
        self._waiting = 0
        self._is_closed = False

    @property
    def version(self) -> str:
        """Another one than before says that `/v1/routes` may answer something else than before."""
        return f"{self._epoch}-{self._count}"

    def note(self) -> None:
        """Something changed: who waits gets an answer."""
        self._count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Nobody waits any more."""
        self._is_closed = True
        self._changed.set()

    async def wait(self, since: str | None, wait_s: float) -> str:
        """The version, once it is another than `since`, or after `wait_s` seconds."""
        if since != self.version or self._is_closed or self._waiting >= WAITING_MAX:
            return self.version
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        return self.version
