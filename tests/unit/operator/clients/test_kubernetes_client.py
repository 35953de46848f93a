"""The Kubernetes client's listing of a collection in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio import client as aio_client
from tests.support.http_thread import HttpThread

from fairlead_operator.clients import clock, errors, kubernetes

PATH = "/api/v1/namespaces/models/secrets"


@asynccontextmanager
async def listing(expiries: int, asked: list[str]) -> AsyncIterator[kubernetes.KubernetesClient]:
    """A client of a server whose collection has two pages; the token for the second expires so many times."""

    async def answer(request: web.Request) -> web.Response:
        token = request.query.get("continue", "")
        asked.append(token)
        lists = asked.count("")
        if not token:
            metadata = {"resourceVersion": f"{lists}", "continue": f"page-2-of-{lists}"}
            return web.json_response({"metadata": metadata, "items": [{"list": lists}]})
        if lists <= expiries:
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        return web.json_response({"metadata": {"resourceVersion": f"{lists}"}, "items": [{"list": lists}]})

    def application() -> web.Application:
        made = web.Application()
        made.router.add_get(PATH, answer)
        return made

    with HttpThread(application) as server:
        configuration = aio_client.Configuration(host=server.url)
        client = kubernetes.KubernetesClient(configuration, clock=clock.SystemClock(), on_request=lambda *_: None)
        yield client
        await client.close()


async def test_a_list_whose_token_expires_begins_again_and_mixes_no_two_ages() -> None:
    asked: list[str] = []
    async with listing(2, asked) as client:
        items, version = await client.list_all(PATH)
    assert items == [{"list": 3}, {"list": 3}]
    assert version == "3"


async def test_a_list_whose_token_expires_each_time_ends_with_an_error() -> None:
    asked: list[str] = []
    async with listing(100, asked) as client:
        with pytest.raises(errors.Expired):
            await client.list_all(PATH)
    assert asked.count("") == kubernetes.LIST_TRIES
