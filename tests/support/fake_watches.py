"""Collections of the API server by path, for reflectors: what a test sets is listed, then streamed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fairlead_operator.clients import errors, kubernetes

Body = dict[str, Any]


class FakeWatches:
    """Implements `reflector.WatchApi`. `failing` answers lists of a path with an error."""

    def __init__(self) -> None:
        self.failing: dict[str, errors.FairleadError] = {}
        self.selectors: dict[str, kubernetes.Selector] = {}
        self._items: dict[str, dict[str, Body]] = defaultdict(dict)
        self._streams: dict[str, list[asyncio.Queue[Body]]] = defaultdict(list)
        self._version = 10

    async def put(self, path: str, name: str, *, namespace: str | None = None, **content: Any) -> None:
        """Create or replace an object, and let it be seen."""
        self._version += 1
        metadata = {
            "name": name,
            "uid": f"uid-{namespace}-{name}",
            "generation": self._version,
            "resourceVersion": str(self._version),
            **({"namespace": namespace} if namespace is not None else {}),
            **content.pop("metadata", {}),
        }
        body = {**content, "metadata": metadata}
        key = f"{namespace}/{name}"
        kind = "MODIFIED" if key in self._items[path] else "ADDED"
        self._items[path][key] = body
        await self._send(path, {"type": kind, "object": body})

    async def remove(self, path: str, name: str, *, namespace: str | None = None) -> None:
        """Delete an object, and let it be seen."""
        self._version += 1
        body = self._items[path].pop(f"{namespace}/{name}")
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        await self._send(path, {"type": "DELETED", "object": body})

    async def list_all(
        self, path: str, *, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> tuple[list[Body], str]:
        self.selectors[path] = selector
        if path in self.failing:
            raise self.failing[path]
        return list(self._items[path].values()), str(self._version)

    async def watch(
        self, path: str, *, resource_version: str, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> AsyncIterator[Body]:
        events: asyncio.Queue[Body] = asyncio.Queue()
        self._streams[path].append(events)
        while True:
            yield await events.get()

    async def _send(self, path: str, event: Body) -> None:
        for stream in self._streams[path]:
            stream.put_nowait(event)
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(*watches: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The watches run inside the block, and have listed what there is when it begins."""
    task = asyncio.gather(*watches)
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
