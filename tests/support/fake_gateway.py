"""A gateway without HAProxy: its table is the ModelRoutes as they are now, its replicas are the fake Ray's."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.support.fake_ray import FakeRay
from tests.support.http_thread import HttpThread

from fairlead_gateway import measurements

ReadRoutes = Callable[[], dict[str, dict[str, Any]] | None]
FRESH_S = 0.1
SIGNATURE = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}


@dataclass
class Table:
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    read_at_s: float = float("-inf")


class FakeGateway:
    """Data and admin port of one gateway of one namespace."""

    def __init__(
        self,
        *,
        namespace: str,
        rays: Mapping[str, FakeRay],
        read_routes: ReadRoutes,
        name: str = "gateway-0",
        host: str = "127.0.0.1",
    ) -> None:
        """``rays`` are the namespace's Ray clusters, by name: a route says on which one a revision runs."""
        self._namespace = namespace
        self._rays = rays
        self._read_routes = read_routes
        self._name = name
        self._table = Table()
        self.is_frozen = False
        """While true, the gateway keeps its table: set but not verified."""
        self.connections: int | None = None
        """The clients that are connected; None: not known."""
        self.sessions: dict[str, int] = {}
        """Requests in flight by revision."""
        self.failing_predictions: set[str] = set()
        """Parts of model URIs whose example the model fails on."""
        self.epoch = uuid.uuid4().hex
        """As of an agent's process; a test that restarts the agent sets another, and counters to zero."""
        self.measurements: dict[str, dict[str, Any]] = {}
        """By revision, in place of the zeros of `/v1/measurements`: whole parts, such as `requests`."""
        self._data = HttpThread(self._data_application, host=host)
        self._admin = HttpThread(self._admin_application, host=host)

    def __enter__(self) -> Self:
        self._data.start()
        self._admin.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """As one that is killed: connections are refused from now on."""
        self._data.stop()
        self._admin.stop()

    @property
    def ports(self) -> dict[str, int]:
        """By the names that the ports have in a Service."""
        return {"data": self._data.port, "admin": self._admin.port}

    @property
    def addresses(self) -> str:
        """As in ``--gateway NS=…``."""
        return f"{self._data.url},{self._admin.url}"

    def entries(self) -> dict[str, dict[str, Any]]:
        """The table as it is now."""
        self._refresh()
        return self._table.entries

    def _data_application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v2/models/{model}", self._metadata)
        application.router.add_post("/v2/models/{model}/proof", self._proof)
        return application

    def _admin_application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v1/routes", self._routes)
        application.router.add_get("/v1/measurements/{model}", self._measurements)
        return application

    def _refresh(self) -> None:
        table = self._table
        if self.is_frozen or time.monotonic() - table.read_at_s < FRESH_S:
            return
        found = self._read_routes()
        if found is None:
            return  # the API server is away: the last table stays
        # One that is gone without a mark stays until it is written again.
        kept = {model: entry for model, entry in table.entries.items() if not entry.get("retired")}
        self._table = Table(entries={**kept, **found}, read_at_s=time.monotonic())

    async def _routes(self, _request: web.Request) -> web.Response:
        await asyncio.get_running_loop().run_in_executor(None, self._refresh)
        routes = {
            model: {"version": entry["version"], "retired": True, "revisions": {}}
            if entry.get("retired")
            else {
                "version": entry["version"],
                "revisions": {rev: self._live(model, rev) for rev in entry.get("revisions", ())},
            }
            for model, entry in self._table.entries.items()
        }
        nodes = [
            {
                "cluster": "default",
                "address": "127.0.0.1:1",
                "state": "Known",
                "reason": None,
                "ageSeconds": 0.0,
                "replicas": 0,
            }
        ]
        body = {"gateway": self._name, "routes": routes, "errors": {}, "failure": None, "nodes": nodes}
        if self.connections is not None:
            body["connections"] = self.connections
        return web.json_response(body)

    async def _measurements(self, request: web.Request) -> web.Response:
        await asyncio.get_running_loop().run_in_executor(None, self._refresh)
        model = request.match_info["model"]
        entry = self._table.entries.get(model)
        if entry is None:
            return web.json_response({"error": f"this gateway has no route for a model {model!r}"}, status=404)
        zeros = measurements.Counted().body()
        found = {name: {**zeros, **self.measurements.get(name, {})} for name in entry.get("revisions", ())}
        return web.json_response({"gateway": self._name, "epoch": self.epoch, "revisions": found})

    def _ray(self, model: str, revision: str) -> FakeRay | None:
        """The Ray cluster of a revision that the model's route has."""
        found = self._table.entries.get(model, {}).get("revisions", {}).get(revision)
        return self._rays.get(found["cluster"]) if found is not None else None

    def _live(self, model: str, revision: str) -> dict[str, int]:
        ray = self._ray(model, revision)
        running = ray.running_now(f"{self._namespace}--{model}--{revision}") if ray is not None else 0
        return {"up": running, "draining": 0, "sessions": self.sessions.get(revision, 0)}

    async def _metadata(self, request: web.Request) -> web.Response:
        model, revision = request.match_info["model"], request.headers.get("x-fairlead-revision", "")
        if not self._is_up(model, revision):
            return web.json_response({"error": "no replica is up"}, status=503)
        document = {"name": model, "versions": [revision], "platform": "tensorflow", **SIGNATURE}
        return web.json_response(document, headers={"x-fairlead-revision": revision})

    async def _proof(self, request: web.Request) -> web.Response:
        model, revision = request.match_info["model"], request.headers.get("x-fairlead-revision", "")
        application, ray = f"{self._namespace}--{model}--{revision}", self._ray(model, revision)
        if ray is None or not ray.running_now(application):
            return web.json_response({"error": "no replica is up"}, status=503)
        uri = ray.uri_of(application)
        is_failed = any(part in uri for part in self.failing_predictions)
        document = {
            "schema": 1,
            "revision": revision,
            "digest": ray.digest_of(application) or digest_of_uri(uri),
            "outcome": "Failed" if is_failed else "Proved",
            "message": "the model failed" if is_failed else "",
            "sharesCalls": True,
            **SIGNATURE,
        }
        return web.json_response(document, headers={"x-fairlead-revision": revision})

    def _is_up(self, model: str, revision: str) -> bool:
        ray = self._ray(model, revision)
        return ray is not None and bool(ray.running_now(f"{self._namespace}--{model}--{revision}"))


def digest_of_uri(uri: str) -> str:
    """What the fake replicas read at a URI that has no digest."""
    return "sha256:" + hashlib.sha256(uri.encode()).hexdigest()
