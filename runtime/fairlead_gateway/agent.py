"""The gateway's loop: table in, HAProxy brought to it, what it then has read back. Level-triggered.

Every pass compares the whole table with everything HAProxy was read to have; what started the pass does not matter.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

from fairlead_gateway import admin, metrics, replica_scrape, request_log, routes, settings, watcher
from fairlead_gateway.haproxy import config, control, process, router

_log = logging.getLogger(__name__)

TABLE_FILE = "table.json"
_READ_AGE_S = 0.2
"""`/v1/routes` reads HAProxy anew when what was read is older."""

_SETTLE_S = 0.1
_RETRY_S = 0.5
_STUCK_S = 60.0
_FORGET_S = 900.0
"""How long the series of a revision that is gone are kept, so that the last of them are still scraped."""


class Agent:
    """One gateway."""

    def __init__(
        self, settings_: settings.Settings, *, source: watcher.Source, metrics_: metrics.Metrics, version: str
    ):
        self._settings = settings_
        self._source = source
        self._metrics = metrics_
        self._table: routes.Table | None = None
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._state: router.State | None = None
        self._state_at = 0.0
        self._failure: str | None = None
        self._alive_at = time.monotonic()
        self._was_ready = False
        self._gone_since: dict[metrics.Key, float] = {}
        log_fd = request_log.open_pipe(settings_.state_dir)
        self._epoch = uuid.uuid4().hex
        self._log_reader = request_log.Reader(log_fd, metrics_)
        options = config.Options(version=version, max_connections=settings_.max_connections, threads=settings_.threads)
        self._router = router.Router(settings_, options=options, log_fd=log_fd, metrics_=metrics_)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then end HAProxy gracefully."""
        self._table = self._load_table()
        if await self._router.adopt():
            _log.info("haproxy adopted pid=%s", self._router.process.pid)
        runner = await admin.serve(self._answers(), self._settings.admin)
        tasks = [
            asyncio.create_task(self._follow_source(), name="source"),
            asyncio.create_task(self._follow_deaths(), name="deaths"),
            asyncio.create_task(self._log_reader.run(), name="request-log"),
            asyncio.create_task(self._passes(), name="passes"),
            asyncio.create_task(self._scrapes(), name="scrapes"),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            if stop.is_set():
                await self._router.stop()
                self._log_reader.drain()
            await runner.cleanup()

    async def _follow_source(self) -> None:
        async for data in self._source.follow():
            table = routes.read_table(data, self._table or routes.EMPTY_TABLE)
            for model, reason in table.errors.items():
                _log.warning("route refused model=%s reason=%s", model, reason)
            self._metrics.set_route_errors(table.errors)
            if table != self._table:
                # Kept before it is applied: a gateway that starts anew goes on from here.
                self._save_table(table)
                self._table = table
                self._changed.set()

    async def _follow_deaths(self) -> None:
        while True:
            await self._router.process.died.wait()
            self._changed.set()
            await asyncio.sleep(_SETTLE_S)

    async def _passes(self) -> None:
        while True:
            self._changed.clear()
            await self._pass()
            self._alive_at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._pause_s())

    async def _scrapes(self) -> None:
        scraper = replica_scrape.Scraper(self._metrics)
        async with replica_scrape.make_session() as session:
            while True:
                places = () if self._table is None or self._state is None else _places(self._table, self._state)
                await scraper.scrape(session, places)
                await asyncio.sleep(replica_scrape.INTERVAL_S)

    def _pause_s(self) -> float:
        if self._failure is not None:
            return _RETRY_S
        if self._state is not None and self._state.reload_due_s is not None:
            return self._state.reload_due_s
        return self._settings.pass_interval_s if self._unready() is None else _SETTLE_S

    async def _pass(self) -> None:
        table = self._table
        if table is None:
            return
        async with self._lock:
            try:
                state = await self._router.apply(table)
                # What was checked once stays ready: a replica that goes later is no reason to turn the gateway away.
                self._was_ready = self._was_ready or state.unchecked == 0
                await self._router.set_ready(state, is_ready=self._was_ready)
            except control.HAProxyError as error:
                self._metrics.count_failure()
                if str(error) != self._failure:
                    _log.error("table not applied error=%s", error)
                self._failure = str(error)
                return
            self._failure = None
            self._keep(state)
        self._forget_series(table)
        self._metrics.measured.follow(
            {route.model: frozenset(each.name for each in route.revisions) for route in table.routes.values()}
        )

    def _keep(self, state: router.State) -> None:
        self._state = state
        self._state_at = time.monotonic()
        self._metrics.set_haproxy(
            is_up=not self._router.process.died.is_set(),
            old_workers=len(state.processes.old_workers),
            dropped_logs=state.observed.dropped_logs,
        )
        self._metrics.set_ready(is_ready=self._unready() is None)

    def _forget_series(self, table: routes.Table) -> None:
        now = time.monotonic()
        known = {(route.model, revision.name) for route in table.routes.values() for revision in route.revisions}
        series = self._metrics.requests.keys()
        self._gone_since = {key: self._gone_since.get(key, now) for key in series - known if key != ("", "")}
        if any(now - since > _FORGET_S for since in self._gone_since.values()):
            self._metrics.requests.forget(
                series - {key for key, since in self._gone_since.items() if now - since > _FORGET_S}
            )

    def _answers(self) -> admin.Answers:
        return admin.Answers(
            unhealthy=self._unhealthy,
            unready=self._unready,
            routes=self._routes,
            measurements=self._measurements,
            metrics=self._metrics,
        )

    def _unhealthy(self) -> str | None:
        if time.monotonic() - self._alive_at > _STUCK_S:
            return "the agent's loop has not come round for a minute"
        if self._table is not None and self._router.process.died.is_set():
            return "HAProxy does not run"
        return None

    def _unready(self) -> str | None:
        if self._table is None:
            return "no route table has been read yet"
        if self._router.process.died.is_set():
            return "HAProxy does not run"
        if self._state is None:
            return self._failure or "the route table is not applied yet"
        if not self._was_ready:
            return f"{self._state.unchecked} places for replicas have not been checked yet"
        return None

    async def _routes(self) -> dict[str, Any] | None:
        """The body of `/v1/routes`, from what HAProxy was read to have at most a moment ago."""
        table = self._table
        if table is None:
            return None
        async with self._lock:
            if self._state is None or time.monotonic() - self._state_at > _READ_AGE_S:
                try:
                    self._keep(await self._router.read(table))
                except control.HAProxyError as error:
                    _log.warning("haproxy unreadable error=%s", error)
                    return None
            state = self._state
        return {
            "gateway": self._settings.gateway_id,
            "routes": {model: _route_body(route, state) for model, route in table.routes.items()} if state else {},
            "errors": dict(table.errors),
            "failure": self._failure,
        }

    def _measurements(self, model: str) -> dict[str, Any] | None:
        """The body of `/v1/measurements`; None for a model without a route. What HAProxy has written is in it."""
        route = self._table.routes.get(model) if self._table else None
        if route is None:
            return None
        self._log_reader.drain()
        found = {revision.name: self._metrics.measured.of(model, revision.name).body() for revision in route.revisions}
        return {"gateway": self._settings.gateway_id, "epoch": self._epoch, "revisions": found}

    def _load_table(self) -> routes.Table | None:
        """The last table, or None when there was none: that is not an empty one."""
        try:
            data = json.loads((self._settings.state_dir / TABLE_FILE).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("last table unreadable error=%s", error)
            return None
        return routes.read_table(data, routes.EMPTY_TABLE)

    def _save_table(self, table: routes.Table) -> None:
        data = {model: route.text for model, route in table.routes.items()}
        process.write_file(self._settings.state_dir / TABLE_FILE, json.dumps(data))


def _places(table: routes.Table, state: router.State) -> Iterator[replica_scrape.Place]:
    """Where replicas are of models with something to compare: more than one revision."""
    for route in table.routes.values():
        for revision in route.revisions if len(route.revisions) > 1 else ():
            backend = config.backend_name(route.model, revision.name)
            for index in range(revision.ports):
                server = state.observed.servers.get((backend, config.server_name(index)))
                if server is not None and (server.is_up or server.is_draining):
                    yield replica_scrape.Place(
                        model=route.model, revision=revision.name, host=server.host, port=server.port
                    )


def _route_body(route: routes.Route, state: router.State) -> dict[str, Any]:
    revisions: dict[str, dict[str, int]] = {}
    for revision in route.revisions:
        backend = config.backend_name(route.model, revision.name)
        servers = [
            state.observed.servers[backend, config.server_name(index)]
            for index in range(revision.ports)
            if (backend, config.server_name(index)) in state.observed.servers
        ]
        revisions[revision.name] = {
            "up": sum(server.is_up for server in servers),
            "draining": sum(server.is_draining for server in servers),
            "sessions": state.sessions.get(backend, 0),
        }
    return {"version": state.live.get(route.model), "revisions": revisions}
