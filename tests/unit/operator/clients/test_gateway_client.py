"""The gateway client's reading of ``GET /v1/routes`` (docs/contracts.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from tests.support.http_thread import HttpThread

from fairlead_operator.clients import clock, errors, gateway, http


@pytest.fixture
async def http_client() -> AsyncIterator[http.HttpClient]:
    client = http.HttpClient(clock=clock.SystemClock())
    yield client
    await client.close()


def admin_port(document: object) -> HttpThread:
    """A gateway's admin port that answers with one document."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_get("/v1/routes", answer)
        return made

    return HttpThread(application)


async def test_a_route_that_is_being_changed_hides_no_other_route(http_client: http.HttpClient) -> None:
    changing = {"version": None, "revisions": {"aaaaaaaaaa": {"up": 1, "draining": 0, "sessions": 2}}}
    whole = {"version": "9f86d081884c7d65", "revisions": {}}
    server = admin_port({"gateway": "g", "routes": {"one": changing, "other": whole}, "errors": {}, "failure": None})
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        view = await client.fetch_view(server.url)
    finally:
        server.stop()
    assert view.routes["one"].version is None
    assert view.routes["one"].revisions["aaaaaaaaaa"].sessions == 2
    assert view.routes["other"].version == "9f86d081884c7d65"


async def test_a_route_without_a_version_is_no_answer(http_client: http.HttpClient) -> None:
    server = admin_port({"gateway": "g", "routes": {"one": {"revisions": {}}}})
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        with pytest.raises(errors.Unreachable, match="unexpected answer"):
            await client.fetch_view(server.url)
    finally:
        server.stop()
