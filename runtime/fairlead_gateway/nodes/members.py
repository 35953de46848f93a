"""Which nodes there are. The static list is of flags; other sources implement the same interface."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from fairlead_gateway.settings import Node


class NodeList(Protocol):
    """Yields all nodes that there are, first as they are and then whenever they change.

    A source that can't be read yields nothing: what is unknown is not absent.
    """

    def follow(self) -> AsyncIterator[Sequence[Node]]: ...


class StaticNodes:
    """The nodes of the command line."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)

    async def follow(self) -> AsyncIterator[Sequence[Node]]:
        yield self._nodes
        await asyncio.Event().wait()
