"""Kopf's watches over a stand-in for the API server: what ends one of them costs the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Hashable, Iterator
from typing import Any

import pytest
from aiohttp import web
from tests.support.hand_clock import HandClock
from tests.support.http_thread import HttpThread

from fairlead_operator import handlers
from fairlead_operator.api import names
from fairlead_operator.clients import kubernetes
from fairlead_operator.state import keys

GROUP_PATH = f"/apis/{names.GROUP}/{names.VERSION}"
DEADLINE_S = 100.0


class Server:
    """Lists nothing, and hands each namespace's watch what a test puts in; some namespaces may be forbidden."""

    def __init__(self) -> None:
        self.forbidden: set[str] = set()
        self.watches: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self.asked: dict[str, int] = {}
        self.thread = HttpThread(self._application)

    def send(self, namespace: str, name: str, version: int, **body: Any) -> None:
        event = {"type": "MODIFIED", "object": model(namespace, name, version, **body)}
        self.thread.run(lambda: self.watches[namespace].put_nowait(event))

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/{tail:.*}", self._get)
        return application

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith(f"{GROUP_PATH}/namespaces/"):
            return await self._models(request, path.split("/")[5])
        return web.json_response(DISCOVERY.get(path, {"groups": [], "versions": ["v1"], "resources": []}))

    async def _models(self, request: web.Request, namespace: str) -> web.StreamResponse:
        self.asked[namespace] = self.asked.get(namespace, 0) + 1
        if namespace in self.forbidden:
            return web.json_response({"kind": "Status", "code": 403, "reason": "Forbidden"}, status=403)
        if request.query.get("watch") != "true":
            return web.json_response({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []})
        stream = web.StreamResponse()
        await stream.prepare(request)
        events = self.watches[namespace] = asyncio.Queue()
        with contextlib.suppress(ConnectionError):
            while True:
                await stream.write(json.dumps(await events.get()).encode() + b"\n")
        return stream


DISCOVERY: dict[str, dict[str, Any]] = {
    "/api/v1": {
        "groupVersion": "v1",
        "resources": [
            {"name": "namespaces", "kind": "Namespace", "singularName": "", "namespaced": False, "verbs": ["list"]}
        ],
    },
    "/apis": {
        "groups": [
            {
                "name": names.GROUP,
                "versions": [{"groupVersion": names.API_VERSION, "version": names.VERSION}],
                "preferredVersion": {"groupVersion": names.API_VERSION, "version": names.VERSION},
            }
        ]
    },
    GROUP_PATH: {
        "groupVersion": names.API_VERSION,
        "resources": [
            {
                "name": names.PLURAL,
                "kind": names.KIND,
                "singularName": "modeldeployment",
                "namespaced": True,
                "verbs": ["get", "list", "watch", "patch"],
            }
        ],
    },
}


def model(namespace: str, name: str, version: int, **body: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": f"u-{name}", "resourceVersion": str(version)}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {**metadata, "generation": 1}, **body}


class Heard:
    def __init__(self) -> None:
        self.notices: list[tuple[keys.ModelKey, str, Hashable]] = []

    def noticed(self, key: keys.ModelKey, resource_version: str, intent: Hashable) -> None:
        self.notices.append((key, resource_version, intent))

    def deleted(self, key: keys.ModelKey) -> None:
        self.notices.append((key, "deleted", None))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.thread.start()
    yield made
    made.thread.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.02)


def watch(server: Server, namespace: str, received: Heard) -> handlers.NamespaceWatch:
    async def fetch_credentials() -> kubernetes.Credentials:
        return kubernetes.Credentials(
            server=server.thread.url,
            ca_path=None,
            is_insecure=True,
            scheme=None,
            token=None,
            certificate_path=None,
            private_key_path=None,
        )

    loop = asyncio.get_running_loop()
    return handlers.NamespaceWatch(namespace, received, fetch_credentials, loop=loop, clock=HandClock())


async def test_a_forbidden_namespace_is_tried_again_and_another_one_is_watched_all_the_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = handlers.build_settings
    monkeypatch.setattr(handlers, "RESTART_FIRST_S", 0.05)

    def build_settings() -> Any:
        made = settings()
        made.networking.error_backoffs = (0.01,)
        return made

    monkeypatch.setattr(handlers, "build_settings", build_settings)
    server.forbidden.add("b")
    received = Heard()
    watches = {name: watch(server, name, received) for name in ("a", "b")}
    try:
        for one in watches.values():
            one.start()
        await until(lambda: "a" in server.watches and watches["b"].starts > 2)
        server.send("a", "m", 7)
        await until(lambda: received.notices)
        assert received.notices == [(keys.ModelKey("a", "m"), "7", (1, None, None))]
        assert watches["a"].starts == 1
        server.forbidden.clear()
        await until(lambda: "b" in server.watches)
        server.send("b", "n", 8)
        await until(lambda: len(received.notices) == 2)
        assert watches["a"].starts == 1, "it was never started again"
    finally:
        for one in watches.values():
            one.stop()


async def test_a_restarted_watch_receives_events_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "RESTART_FIRST_S", 0.05)
    received = Heard()
    one = watch(server, "a", received)
    try:
        one.start()
        await until(lambda: "a" in server.watches)
        first = server.watches["a"]
        one.restart()
        await until(lambda: server.watches["a"] is not first)
        server.send("a", "m", 9)
        await until(lambda: received.notices)
        assert one.starts == 2
    finally:
        one.stop()


def test_the_intent_changes_with_spec_deletion_and_requests_only() -> None:
    asked = handlers.intent_of(model("a", "m", 1))
    assert handlers.intent_of(model("a", "m", 2, status={"phase": "Ready"})) == asked
    assert handlers.intent_of(model("a", "m", 3, status={"request": {"id": "1"}})) != asked
    deleted = model("a", "m", 4)
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert handlers.intent_of(deleted) != asked
    changed = model("a", "m", 5)
    changed["metadata"]["generation"] = 2
    assert handlers.intent_of(changed) != asked
