"""Ray Serve's REST API with its traps, over virtual replicas (held to the real one by ``test_fake_ray.py``).

Source of each rule: Ray 2.60, ``dashboard/modules/serve/serve_head.py`` and ``serve/_private/application_state.py``.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.support.http_thread import HttpThread

CODE_FIELDS = ("import_path", "runtime_env", "args")  # what Ray hashes to a code version, of what we set
DEFAULT_DEPLOYMENT = "replica"


class Trap(Enum):
    """How the next requests are answered; the real cluster does each of these."""

    NONE = "answer"
    EMPTY = "GET says 200 with nothing, though everything runs"
    UNAVAILABLE = "503"
    HANG = "no answer"
    CUT = "the connection is closed in the middle of the answer"


@dataclass
class Application:
    config: dict[str, Any]
    version: str
    changed_at_s: float
    deployed_at_s: float
    error: str | None = None
    life: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    """Names the replicas: other code, other replicas."""
    deleting: bool = False
    aimed: int = 0
    """Where scaling is automatic: what the load asks for, before the bounds."""

    @property
    def deployment(self) -> dict[str, Any]:
        return (self.config.get("deployments") or [{"name": DEFAULT_DEPLOYMENT}])[0]

    @property
    def target(self) -> int:
        return _target(self.deployment, self.aimed)


@dataclass
class State:
    session: str = field(default_factory=lambda: f"session_{uuid.uuid4().hex[:12]}")
    controller_id: str | None = None
    applications: dict[str, Application] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    puts: list[dict[str, Any]] = field(default_factory=list)
    trap: Trap = Trap.NONE
    fail_next_put_after_it_happened: bool = False
    start_s: float = 0.05
    delete_s: float = 0.05
    lost_replicas: dict[str, int] = field(default_factory=dict)


def load_error_of_uri(config: Mapping[str, Any]) -> str | None:
    """By default a model whose URI has ``broken`` in it can't be loaded."""
    args = config.get("args")
    source = ((args.get("config") if isinstance(args, dict) else None) or {}).get("source") or {}
    return f"ModelCorrupt: {source['uri']}: not a SavedModel" if "broken" in source.get("uri", "") else None


class FakeRay:
    """One Ray head. Its methods may be called from any thread."""

    def __init__(
        self,
        *,
        token: str | None = None,
        load_error: Callable[[Mapping[str, Any]], str | None] = load_error_of_uri,
        port: int = 0,
    ) -> None:
        self._token = token
        self._load_error = load_error
        self._state = State()
        self._server = HttpThread(self._application, port=port)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """As one that is killed: connections are refused from now on."""
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def session(self) -> str:
        """Of the head that runs now."""
        return self._server.run(lambda: self._state.session)

    def restart_head(self) -> None:
        """A new head: everything is lost, and Serve isn't started."""

        def restart() -> None:
            old = self._state
            self._state = State(requests=old.requests, puts=old.puts, start_s=old.start_s, delete_s=old.delete_s)

        self._server.run(restart)

    def set_token(self, token: str) -> None:
        """As a head that was started with another one."""
        self._server.run(lambda: setattr(self, "_token", token))

    def set_trap(self, trap: Trap) -> None:
        self._server.run(lambda: setattr(self._state, "trap", trap))

    def fail_next_put_after_it_happened(self) -> None:
        self._server.run(lambda: setattr(self._state, "fail_next_put_after_it_happened", True))

    def set_start_s(self, start_s: float) -> None:
        self._server.run(lambda: setattr(self._state, "start_s", start_s))

    def lose_replicas(self, application: str, count: int) -> None:
        """So many of the application's replicas are not running, until set to 0."""
        self._server.run(lambda: self._state.lost_replicas.__setitem__(application, count))

    def deploy_beside(self, config: dict[str, Any]) -> None:
        """Someone else's PUT: what is there, and one application more."""

        def deploy() -> None:
            self._state.controller_id = self._state.controller_id or uuid.uuid4().hex
            self._deploy(
                {**{n: a.config for n, a in self._settled().items() if not a.deleting}, config["name"]: config}
            )

        self._server.run(deploy)

    def deploy_all(self, configs: list[dict[str, Any]]) -> None:
        """What somebody put before the test."""

        def deploy() -> None:
            self._state.controller_id = self._state.controller_id or uuid.uuid4().hex
            self._deploy({config["name"]: config for config in configs})

        self._server.run(deploy)

    def running(self, application: str) -> int:
        """How many replicas of an application run now."""
        return self._server.run(lambda: self.running_now(application))

    def applications(self) -> dict[str, dict[str, Any]]:
        """Configs by name of what is there (also what is being deleted)."""
        return self._server.run(lambda: {name: app.config for name, app in self._settled().items() if not app.deleting})

    def digest_of(self, application: str) -> str | None:
        """The digest in the application's ``user_config``."""
        app = self._state.applications.get(application)
        return ((app.deployment.get("user_config") or {}).get("digest") if app else None) or None

    def uri_of(self, application: str) -> str:
        app = self._state.applications.get(application)
        return str(app.config["args"]["config"]["source"]["uri"]) if app else ""

    @property
    def puts(self) -> list[dict[str, Any]]:
        return self._server.run(lambda: list(self._state.puts))

    @property
    def requests(self) -> Counter[str]:
        return self._server.run(lambda: Counter(self._state.requests))

    def running_now(self, application: str) -> int:
        """As ``running``, for callers that don't mind which thread they are on (a read of plain values)."""
        app = self._state.applications.get(application)
        if app is None or app.deleting or app.error is not None or self._is_starting(app):
            return 0
        return max(0, app.target - self._state.lost_replicas.get(application, 0))

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._authenticate, self._count_and_trap], client_max_size=64 * 2**20
        )
        application.router.add_get("/api/serve/applications/", self._get)
        application.router.add_put("/api/serve/applications/", self._put)
        application.router.add_delete("/api/serve/applications/", self._delete)
        application.router.add_get("/api/ray/version", self._version)
        application.router.add_get("/api/version", self._version)
        return application

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._token is not None:
            given = request.headers.get("Authorization") or request.headers.get("X-Ray-Authorization")
            if given is None:
                return web.Response(status=401, text="Unauthorized: Missing authentication token")
            if given.removeprefix("Bearer ") != self._token:
                return web.Response(status=403, text="Forbidden: Invalid authentication token")
        return await handler(request)

    @web.middleware
    async def _count_and_trap(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self._state.requests[request.method] += 1
        trap = self._state.trap
        if trap is Trap.UNAVAILABLE:
            return web.Response(status=503, text="Failed to get a response from the controller.")
        if trap is Trap.HANG:
            await asyncio.sleep(3600)
        if trap is Trap.CUT:
            cut = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await cut.prepare(request)
            await cut.write(b'{"controller_info"')
            if request.transport is not None:
                request.transport.close()
            return cut
        return await handler(request)

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"version": "4", "ray_version": "2.60.0", "ray_commit": "fake", "session_name": self._state.session}
        )

    async def _get(self, _request: web.Request) -> web.Response:
        if self._state.controller_id is None or self._state.trap is Trap.EMPTY:
            return _json({"controller_info": {}, "proxies": {}, "applications": {}, "target_capacity": None})
        applications = {name: self._details(name, app) for name, app in self._settled().items()}
        return _json(
            {
                "controller_info": {"actor_id": self._state.controller_id, "node_ip": "127.0.0.1"},
                "proxy_location": "Disabled",
                "proxies": {},
                "applications": applications,
                "target_capacity": None,
                "target_groups": [],
            }
        )

    async def _put(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            wanted = _checked(body)
        except (ValueError, KeyError, TypeError) as error:
            return web.Response(status=400, text=f"ValidationError: {error}")
        self._state.puts.append(body)
        if self._state.controller_id is None:
            self._state.controller_id = uuid.uuid4().hex
        self._deploy(wanted)
        if self._state.fail_next_put_after_it_happened:
            self._state.fail_next_put_after_it_happened = False
            return web.Response(status=500, text="connection to the controller lost")
        return web.Response()

    async def _delete(self, _request: web.Request) -> web.Response:
        if self._state.controller_id is not None:
            self._state.applications.clear()
            self._state.controller_id = None
        return web.Response()

    def _deploy(self, wanted: Mapping[str, dict[str, Any]]) -> None:
        now_s = time.monotonic()
        current = self._settled()
        for name, config in wanted.items():
            known = current.get(name)
            scaled = [each.get("autoscaling_config") for each in config.get("deployments") or ()]
            policies = [each.get("policy") for each in scaled if each is not None]
            version = json.dumps([*(config.get(field) for field in CODE_FIELDS), policies], sort_keys=True)
            if known is not None and known.version == version and not known.deleting:
                known.aimed = known.target
                changes = known.target != _target((config.get("deployments") or [{}])[0], known.aimed)
                if changes or known.error is not None:
                    known.changed_at_s = now_s
                known.config = config  # a light update; what has failed stays failed
                continue
            self._state.applications[name] = Application(
                config=config,
                version=version,
                changed_at_s=now_s,
                deployed_at_s=time.time(),
                error=self._load_error(config),
            )
        for name, app in self._state.applications.items():
            if name not in wanted and not app.deleting:
                app.deleting, app.changed_at_s = True, now_s

    def _settled(self) -> dict[str, Application]:
        """The applications without those whose deletion has ended."""
        now_s, state = time.monotonic(), self._state
        gone = [n for n, a in state.applications.items() if a.deleting and now_s - a.changed_at_s > state.delete_s]
        for name in gone:
            del state.applications[name]
        return state.applications

    def _is_starting(self, app: Application) -> bool:
        return time.monotonic() - app.changed_at_s < self._state.start_s

    def _details(self, name: str, app: Application) -> dict[str, Any]:
        running = self.running_now(name)
        status, deployment_status = self._statuses(app, running)
        message = app.error if status == "DEPLOY_FAILED" else ""
        deployment = app.deployment
        states = ["RUNNING"] * running + ["STARTING"] * (0 if app.error or app.deleting else app.target - running)
        return {
            "name": name,
            "route_prefix": app.config.get("route_prefix"),
            "docs_path": None,
            "status": status,
            "message": f"Deploying app '{name}' failed: {message}" if message else "",
            "last_deployed_time_s": app.deployed_at_s,
            "deployed_app_config": app.config,
            "source": "declarative",
            "deployments": {
                deployment["name"]: {
                    "name": deployment["name"],
                    "status": deployment_status,
                    "status_trigger": "UNSPECIFIED",
                    "message": message,
                    "deployment_config": deployment,
                    "target_num_replicas": 0 if app.deleting else app.target,
                    "required_resources": {"CPU": 1},
                    "replicas": [_replica(app.life, number, state) for number, state in enumerate(states)],
                }
            },
        }

    def _statuses(self, app: Application, running: int) -> tuple[str, str]:
        if app.deleting:
            return "DELETING", "UPDATING"
        if self._is_starting(app):
            return "DEPLOYING", "UPDATING"
        if app.error is not None:
            return "DEPLOY_FAILED", "DEPLOY_FAILED"
        return ("RUNNING", "HEALTHY") if running >= app.target else ("UNHEALTHY", "UNHEALTHY")


def _target(deployment: Mapping[str, Any], aimed: int) -> int:
    scaled = deployment.get("autoscaling_config")
    if scaled is None:
        return int(deployment.get("num_replicas", 1))
    return max(int(scaled["min_replicas"]), min(int(scaled["max_replicas"]), aimed))


def _replica(life: str, number: int, state: str) -> dict[str, Any]:
    return {"replica_id": f"{life}-{number}", "state": state, "start_time_s": 0.0, "node_ip": "127.0.0.1"}


def _checked(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Applications by name; names and route prefixes are unique, an import path is needed."""
    applications = body["applications"]
    names = [application["name"] for application in applications]
    prefixes = [a.get("route_prefix", "/") for a in applications if a.get("route_prefix", "/") is not None]
    for what, values in (("names", names), ("route_prefixes", prefixes)):
        if len(set(values)) != len(values):
            raise ValueError(f"Found duplicates for {what}: {sorted({v for v in values if values.count(v) > 1})}")
    for application in applications:
        if ":" not in application["import_path"] and "." not in application["import_path"]:
            raise ValueError(f"Got invalid import path {application['import_path']!r}")
    return {application["name"]: application for application in applications}


def _json(document: Any) -> web.Response:
    return web.Response(text=json.dumps(document), content_type="application/json")
