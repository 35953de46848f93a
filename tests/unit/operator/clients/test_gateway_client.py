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


def admin_port(document: object, *, asked: list[str] | None = None) -> HttpThread:
    """A gateway's admin port that answers with one document."""

    async def answer(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append(request.path_qs)
        return web.json_response(document)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_get("/v1/routes", answer)
        made.router.add_get("/v1/changes", answer)
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


async def test_routes_that_would_fill_the_memory_are_not_parsed(
    http_client: http.HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "ROUTES_VALUES_MAX", 1000)
    server = admin_port({"gateway": "g", "routes": {}, "errors": {}, "failure": None, "more": [[]] * 1000})
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        with pytest.raises(errors.AnswerTooLong, match="more than 1000 values"):
            await client.fetch_view(server.url)
    finally:
        server.stop()


async def test_a_route_without_a_version_is_no_answer(http_client: http.HttpClient) -> None:
    server = admin_port({"gateway": "g", "routes": {"one": {"revisions": {}}}})
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        with pytest.raises(errors.Unreachable, match="unexpected answer"):
            await client.fetch_view(server.url)
    finally:
        server.stop()


async def test_a_change_is_asked_for_with_the_version_that_is_known(http_client: http.HttpClient) -> None:
    asked: list[str] = []
    server = admin_port({"version": "e-3"}, asked=asked)
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        assert await client.wait_for_change(server.url, since=None, wait_s=0.25) == "e-3"
        assert await client.wait_for_change(server.url, since="e-3", wait_s=60) == "e-3"
    finally:
        server.stop()
    assert asked == ["/v1/changes?wait=0.250", "/v1/changes?wait=5.000&since=e-3"]


@pytest.mark.parametrize("document", [{}, {"version": ""}, {"version": "x" * 129}, {"version": 3}, []])
async def test_an_odd_version_is_no_answer(http_client: http.HttpClient, document: object) -> None:
    server = admin_port(document)
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        with pytest.raises(errors.Unreachable, match="unexpected answer"):
            await client.wait_for_change(server.url, since=None, wait_s=0)
    finally:
        server.stop()


async def test_replicas_are_those_of_all_nodes(http_client: http.HttpClient) -> None:
    nodes = [{"cluster": "default", "replicas": 2}, {"cluster": "other", "replicas": 3}]
    server = admin_port({"gateway": "g", "routes": {}, "nodes": nodes})
    server.start()
    try:
        client = gateway.GatewayClient(http_client=http_client, on_request=lambda *_: None)
        assert (await client.fetch_view(server.url)).replicas == 5
    finally:
        server.stop()
