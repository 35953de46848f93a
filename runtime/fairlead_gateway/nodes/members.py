"""The list of Ray nodes. The static list comes from flags; other sources implement the same interface."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from fairlead_gateway.settings import Node


class NodeList(Protocol):
    """A source of the Ray nodes whose directories this gateway reads."""

    def follow(self) -> AsyncIterator[Sequence[Node]]:
        """All nodes now, and again whenever they change. A node that is missing in a list is gone.

        A source that can't be read yields nothing, because unknown is not absent. It never ends; cancel it to stop.
        """
        ...


class StaticNodes:
    """The nodes of the command line."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)

    async def follow(self) -> AsyncIterator[Sequence[Node]]:
        yield self._nodes
        await asyncio.Event().wait()
