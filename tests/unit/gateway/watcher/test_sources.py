"""The source of ModelRoutes against an API that has state and fails on order: what it lists, watches and retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_collection import DEADLINE_S, FakeCollection, next_state, served

from fairlead_gateway import metrics
from fairlead_gateway.watcher import file, model_routes

PATH = "/apis/fairlead.dev/v1alpha1/namespaces/ns/modelroutes"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    fake, counted = FakeCollection(PATH), metrics.Metrics()
    async with served(fake, tmp_path) as kubeconfig:
        source = model_routes.ModelRouteSource(kubeconfig=kubeconfig, namespace="ns", relist_s=60, metrics_=counted)
        yield fake, source, counted


def spec(**content: Any) -> dict[str, Any]:
    return {"spec": content}


Api = tuple[FakeCollection, model_routes.ModelRouteSource, metrics.Metrics]


async def test_routes_are_listed_in_pages_then_watched(api: Api) -> None:
    fake, source, _ = api
    fake.page = 2
    fake.set_unseen(a=spec(n=1), b=spec(n=1), c=spec(n=1))
    async with aclosing(source.follow()) as seen:
        assert await next_state(seen) == dict.fromkeys("abc", '{"n": 1}')
        changed = asyncio.create_task(next_state(seen))
        await fake.watched()
        fake.set(a=spec(n=2))

        assert await changed == {"a": '{"n": 2}', "b": '{"n": 1}', "c": '{"n": 1}'}
    assert [each.get("continue") for each in fake.lists] == [None, "2"]


async def test_events_that_arrive_together_become_one_change(api: Api) -> None:
    fake, source, _ = api
    async with aclosing(source.follow()) as seen:
        assert await next_state(seen) == {}
        changed = asyncio.create_task(next_state(seen))
        await fake.watched()
        table = {f"model-{number}": spec(more="x" * 900) for number in range(300)}
        fake.set(**table)
        found = await changed
        while len(found) < len(table):
            before, found = found, await next_state(seen)
            assert before.keys() < found.keys()

        assert found == {name: json.dumps(content["spec"]) for name, content in table.items()}
        deleted = asyncio.create_task(next_state(seen))
        fake.set(**dict.fromkeys(table))
        while await deleted:
            deleted = asyncio.create_task(next_state(seen))
    assert len(fake.lists) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
async def test_an_error_changes_nothing_and_is_retried(api: Api, code: int) -> None:
    fake, source, counted = api
    fake.set_unseen(digits=spec(n=1))
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
    fake.set_unseen(digits=spec(n=1))
    async with aclosing(source.follow()) as seen:
        await next_state(seen)
        after = asyncio.create_task(next_state(seen))
        await fake.watched()
        fake.set_unseen(digits=spec(n=2))
        fake.send(end) if end else fake.cut()

        assert await after == {"digits": '{"n": 2}'}
    assert len(fake.lists) == 2


def errors_counted(counted: metrics.Metrics) -> float:
    name = b"fairlead_gateway_source_errors_total "
    return next(float(line.removeprefix(name)) for line in counted.text().splitlines() if line.startswith(name))


async def test_an_unreachable_api_server_changes_nothing(tmp_path: Path) -> None:
    counted = metrics.Metrics()
    source = model_routes.ModelRouteSource(
        kubeconfig=tmp_path / "missing", namespace="ns", relist_s=60, metrics_=counted
    )
    async with aclosing(source.follow()) as seen:
        waiting = asyncio.create_task(next_state(seen))
        async with asyncio.timeout(DEADLINE_S):
            while errors_counted(counted) < 2:
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
