"""The source of ModelRoutes against an API that has state and fails on order: what it lists, watches and retries."""

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
from fairlead_gateway.watcher import file, model_routes

DEADLINE_S = 20


PATH = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modelroutes"


class FakeApi:
    """The ModelRoutes, their resource version, and the watches. `fail` answers the next lists with these codes."""

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.fail: list[int] = []
        self.page = 1000
        self.lists: list[dict[str, str]] = []
        self._watches: list[asyncio.Queue[bytes | None]] = []
        self._watched = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH, self._answer)
        return app

    def set(self, **specs: dict[str, Any] | None) -> None:
        """Write these objects, or delete those that are None; all events come in one piece."""
        lines = []
        for name, spec in specs.items():
            kind = "DELETED" if spec is None else "MODIFIED" if name in self.specs else "ADDED"
            self.version += 1
            lines.append(json.dumps({"type": kind, "object": self._object(name, spec or self.specs[name])}))
            if spec is None:
                del self.specs[name]
            else:
                self.specs[name] = spec
        for watch in self._watches:
            watch.put_nowait(("\n".join(lines) + "\n").encode())

    def set_unseen(self, **specs: dict[str, Any]) -> None:
        """A change that no watch delivers."""
        self.specs.update(specs)
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

    def _object(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        meta = {"name": name, "resourceVersion": str(self.version)}
        return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelRoute", "metadata": meta, "spec": spec}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        self.lists.append({"namespace": request.match_info["namespace"], **request.query})
        if self.fail:
            return web.json_response({"message": "on order"}, status=self.fail.pop(0))
        start = int(request.query.get("continue", "0"))
        names = sorted(self.specs)[start : start + self.page]
        items = [self._object(name, self.specs[name]) for name in names]
        end = start + self.page
        meta = {"resourceVersion": str(self.version), **({"continue": str(end)} if end < len(self.specs) else {})}
        return web.json_response({"kind": "ModelRouteList", "metadata": meta, "items": items})

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


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[tuple[FakeApi, model_routes.ModelRouteSource, metrics.Metrics]]:
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
    source = model_routes.ModelRouteSource(kubeconfig=kubeconfig, namespace="ns", relist_s=60, metrics_=counted)
    yield fake, source, counted
    await runner.cleanup()


async def next_state(seen: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(seen)


Api = tuple[FakeApi, model_routes.ModelRouteSource, metrics.Metrics]


async def test_routes_are_listed_in_pages_then_watched(api: Api) -> None:
    fake, source, _ = api
    fake.page = 2
    fake.set_unseen(a={"n": 1}, b={"n": 1}, c={"n": 1})
    async with aclosing(source.follow()) as seen:
        assert await next_state(seen) == dict.fromkeys("abc", '{"n": 1}')
        changed = asyncio.create_task(next_state(seen))
        await fake.watched()
        fake.set(a={"n": 2})

        assert await changed == {"a": '{"n": 2}', "b": '{"n": 1}', "c": '{"n": 1}'}
    assert [each.get("continue") for each in fake.lists] == [None, "2"]
    assert fake.lists[0]["namespace"] == "ns"


async def test_events_that_arrive_together_become_one_change(api: Api) -> None:
    fake, source, _ = api
    async with aclosing(source.follow()) as seen:
        assert await next_state(seen) == {}
        changed = asyncio.create_task(next_state(seen))
        await fake.watched()
        table = {f"model-{number}": {"more": "x" * 900} for number in range(300)}
        fake.set(**table)
        found = await changed
        while len(found) < len(table):
            before, found = found, await next_state(seen)
            assert before.keys() < found.keys()

        assert found == {name: json.dumps(spec) for name, spec in table.items()}
        deleted = asyncio.create_task(next_state(seen))
        fake.set(**dict.fromkeys(table))
        while await deleted:
            deleted = asyncio.create_task(next_state(seen))
    assert len(fake.lists) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
async def test_an_error_changes_nothing_and_is_retried(api: Api, code: int) -> None:
    fake, source, counted = api
    fake.set_unseen(digits={"n": 1})
    fake.fail = [code, code]

    async with aclosing(source.follow()) as seen:
        assert await next_state(seen) == {"digits": '{"n": 1}'}

    assert len(fake.lists) == 3
    assert b"fairlead_gateway_source_errors_total 2.0" in counted.text()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param({"type": "ERROR", "object": {"kind": "Status", "code": 410}}, id="the version is too old"),
        pytest.param(None, id="the connection ends"),
    ],
)
async def test_after_an_ended_watch_a_new_list_shows_missed_changes(api: Api, end: dict[str, Any] | None) -> None:
    fake, source, _ = api
    fake.set_unseen(digits={"n": 1})
    async with aclosing(source.follow()) as seen:
        await next_state(seen)
        after = asyncio.create_task(next_state(seen))
        await fake.watched()
        fake.set_unseen(digits={"n": 2})
        fake.send(end) if end else fake.cut()

        assert await after == {"digits": '{"n": 2}'}
    assert len(fake.lists) == 2


async def test_an_unreachable_api_server_changes_nothing(tmp_path: Path) -> None:
    counted = metrics.Metrics()
    source = model_routes.ModelRouteSource(
        kubeconfig=tmp_path / "missing", namespace="ns", relist_s=60, metrics_=counted
    )
    async with aclosing(source.follow()) as seen:
        waiting = asyncio.create_task(next_state(seen))
        async with asyncio.timeout(DEADLINE_S):
            while b"fairlead_gateway_source_errors_total 2.0" not in counted.text():
                await asyncio.sleep(0.02)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_routes_file_is_followed_and_an_invalid_one_changes_nothing(tmp_path: Path) -> None:
    path, counted = tmp_path / "routes.json", metrics.Metrics()
    async with aclosing(file.FileSource(path, metrics_=counted).follow()) as seen:
        assert await next_state(seen) == {}
        path.write_text('{"digits": {"a": 1}}')
        assert await next_state(seen) == {"digits": '{"a": 1}'}
        changed = asyncio.create_task(next_state(seen))
        path.write_text("{")
        async with asyncio.timeout(DEADLINE_S):
            while b"fairlead_gateway_source_errors_total 0.0" in counted.text():
                await asyncio.sleep(0.02)
        assert not changed.done()
        path.write_text('{"digits": {"a": 2}}')
        assert await changed == {"digits": '{"a": 2}'}
