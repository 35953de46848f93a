"""The ConfigMap source against an API that has state and fails on order: what is absent, and what is only unknown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from fairlead_gateway import metrics
from fairlead_gateway.watcher import config_map, file

DEADLINE_S = 20


class FakeApi:
    """One ConfigMap, its resource version, and the watches on it. `fail` answers the next lists with these codes."""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None
        self.version = 1
        self.fail: list[int] = []
        self.lists: list[dict[str, str]] = []
        self._watches: list[asyncio.Queue[dict[str, Any] | None]] = []
        self._watched = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{namespace}/configmaps", self._answer)
        return app

    def set(self, data: dict[str, str] | None) -> None:
        kind = "DELETED" if data is None else "MODIFIED" if self.data is not None else "ADDED"
        self.data = self.data if data is None else data
        self.version += 1
        for watch in self._watches:
            watch.put_nowait({"type": kind, "object": self._object()})
        self.data = data

    def set_unseen(self, data: dict[str, str]) -> None:
        """A change of which no watch hears."""
        self.data = data
        self.version += 1

    def send(self, event: dict[str, Any]) -> None:
        for watch in self._watches:
            watch.put_nowait(event)

    def cut(self) -> None:
        """End every watch in the middle of things."""
        for watch in self._watches:
            watch.put_nowait(None)

    async def watched(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._watched.wait()

    def _object(self) -> dict[str, Any]:
        meta = {"name": "fairlead-routes", "resourceVersion": str(self.version)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": self.data}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        self.lists.append({"namespace": request.match_info["namespace"], **request.query})
        if self.fail:
            return web.json_response({"message": "on order"}, status=self.fail.pop(0))
        items = [] if self.data is None else [self._object()]
        meta = {"resourceVersion": str(self.version)}
        return web.json_response({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": meta, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._watches.append(events)
        self._watched.set()
        try:
            while (event := await events.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watches.remove(events)
            if not self._watches:
                self._watched.clear()
        return response


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[tuple[FakeApi, config_map.ConfigMapSource, metrics.Metrics]]:
    fake = FakeApi()
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = tmp_path / "kubeconfig"
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
    counted = metrics.Metrics()
    source = config_map.ConfigMapSource(kubeconfig=kubeconfig, namespace="ns", relist_s=60, metrics_=counted)
    yield fake, source, counted
    await runner.cleanup()


async def following(seen: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(seen)


Api = tuple[FakeApi, config_map.ConfigMapSource, metrics.Metrics]


async def test_the_table_is_listed_by_name_then_watched(api: Api) -> None:
    fake, source, _ = api
    fake.data = {"digits": "1"}
    async with aclosing(source.follow()) as seen:
        assert await following(seen) == {"digits": "1"}
        changed = asyncio.create_task(following(seen))
        await fake.watched()
        fake.set({"digits": "2"})

        assert await changed == {"digits": "2"}
    # RBAC lets it read the one ConfigMap only when the selector names it.
    assert fake.lists[0]["fieldSelector"] == "metadata.name=fairlead-routes"
    assert fake.lists[0]["namespace"] == "ns"


async def test_a_table_of_many_models_fits_into_one_event(api: Api) -> None:
    fake, source, _ = api
    async with aclosing(source.follow()) as seen:
        await following(seen)
        changed = asyncio.create_task(following(seen))
        await fake.watched()
        table = {f"model-{number}": "x" * 900 for number in range(1000)}
        fake.set(table)

        assert await changed == table
    assert len(fake.lists) == 1


async def test_a_positive_answer_that_there_is_none_is_the_empty_table(api: Api) -> None:
    fake, source, _ = api
    async with aclosing(source.follow()) as seen:
        assert await following(seen) == {}
        added = asyncio.create_task(following(seen))
        await fake.watched()
        fake.set({"digits": "1"})
        assert await added == {"digits": "1"}
        deleted = asyncio.create_task(following(seen))
        fake.set(None)
        assert await deleted == {}


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
async def test_an_error_yields_nothing_and_is_tried_again(api: Api, code: int) -> None:
    fake, source, counted = api
    fake.data = {"digits": "1"}
    fake.fail = [code, code]

    async with aclosing(source.follow()) as seen:
        assert await following(seen) == {"digits": "1"}

    assert len(fake.lists) == 3
    assert b"fairlead_gateway_source_errors_total 2.0" in counted.text()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param({"type": "ERROR", "object": {"kind": "Status", "code": 410}}, id="the version is too old"),
        pytest.param(None, id="the connection ends"),
    ],
)
async def test_a_watch_that_ends_is_followed_by_a_list_that_shows_what_it_missed(
    api: Api, end: dict[str, Any] | None
) -> None:
    fake, source, _ = api
    fake.data = {"digits": "1"}
    async with aclosing(source.follow()) as seen:
        await following(seen)
        after = asyncio.create_task(following(seen))
        await fake.watched()
        fake.set_unseen({"digits": "2"})
        fake.send(end) if end else fake.cut()

        assert await after == {"digits": "2"}
    assert len(fake.lists) == 2


async def test_an_api_that_is_not_there_yields_nothing(tmp_path: Path) -> None:
    counted = metrics.Metrics()
    source = config_map.ConfigMapSource(kubeconfig=tmp_path / "missing", namespace="ns", relist_s=60, metrics_=counted)
    async with aclosing(source.follow()) as seen:
        waiting = asyncio.create_task(following(seen))
        async with asyncio.timeout(DEADLINE_S):
            while b"fairlead_gateway_source_errors_total 2.0" not in counted.text():
                await asyncio.sleep(0.02)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_file_is_followed_and_a_broken_one_yields_nothing(tmp_path: Path) -> None:
    path, counted = tmp_path / "routes.json", metrics.Metrics()
    async with aclosing(file.FileSource(path, metrics_=counted).follow()) as seen:
        assert await following(seen) == {}
        path.write_text('{"digits": {"a": 1}}')
        assert await following(seen) == {"digits": '{"a": 1}'}
        changed = asyncio.create_task(following(seen))
        path.write_text("{")
        async with asyncio.timeout(DEADLINE_S):
            while b"fairlead_gateway_source_errors_total 0.0" in counted.text():
                await asyncio.sleep(0.02)
        assert not changed.done()
        path.write_text('{"digits": {"a": 2}}')
        assert await changed == {"digits": '{"a": 2}'}
