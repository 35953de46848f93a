"""A collection of the Kubernetes API that has state and fails on order: what it lists, in pages, and its watches.

The contract test beside it is the real API server: `tests/integration/test_gateway_model_routes.py` and
`tests/own_network/test_gateway_endpoint_slices.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

DEADLINE_S = 100


class FakeCollection:
    """Objects, their resource version, and the watches. `fail` answers the next lists with these codes."""

    def __init__(self, path: str) -> None:
        """`path` is that of the collection, in the namespace `ns`."""
        self._path = path
        self.contents: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.fail: list[int] = []
        self.page = 1000
        self.lists: list[dict[str, str]] = []
        self._watches: list[asyncio.Queue[bytes | None]] = []
        self._watched = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(self._path, self._answer)
        return app

    def set(self, **contents: dict[str, Any] | None) -> None:
        """Write these objects, or delete those that are None; all events come in one piece."""
        lines = []
        for name, content in contents.items():
            kind = "DELETED" if content is None else "MODIFIED" if name in self.contents else "ADDED"
            self.version += 1
            lines.append(json.dumps({"type": kind, "object": self._object(name, content or self.contents[name])}))
            if content is None:
                del self.contents[name]
            else:
                self.contents[name] = content
        for watch in self._watches:
            watch.put_nowait(("\n".join(lines) + "\n").encode())

    def set_unseen(self, **contents: dict[str, Any]) -> None:
        """A change that no watch delivers."""
        self.contents.update(contents)
        self.version += 1

    def send(self, event: dict[str, Any]) -> None:
        for watch in self._watches:
            watch.put_nowait(json.dumps(event).encode() + b"\n")

    def cut(self) -> None:
        """End every watch in the middle of things."""
        for watch in self._watches:
            watch.put_nowait(None)

    async def watched(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._watched.wait()

    def _object(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        meta = {"name": name, "resourceVersion": str(self.version), **content.get("metadata", {})}
        return {**content, "metadata": meta}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        self.lists.append(dict(request.query))
        if self.fail:
            return web.json_response({"message": "on order"}, status=self.fail.pop(0))
        start = int(request.query.get("continue", "0"))
        names = sorted(self.contents)[start : start + self.page]
        items = [self._object(name, self.contents[name]) for name in names]
        end = start + self.page
        meta = {"resourceVersion": str(self.version), **({"continue": str(end)} if end < len(self.contents) else {})}
        return web.json_response({"kind": "List", "metadata": meta, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.append(events)
        self._watched.set()
        try:
            while (event := await events.get()) is not None:
                await response.write(event)
        finally:
            self._watches.remove(events)
            if not self._watches:
                self._watched.clear()
        return response


@asynccontextmanager
async def served(fake: FakeCollection, folder: Path) -> AsyncIterator[Path]:
    """A kubeconfig file for it."""
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    try:
        yield kubeconfig
    finally:
        await runner.cleanup()


async def next_state(seen: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(seen)
