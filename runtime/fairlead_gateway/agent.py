"""The gateway's loop: table in, HAProxy brought to it, what it then has read back. Level-triggered.

Every pass compares the whole table with everything HAProxy was read to have; what started the pass does not matter.
"""

import asyncio
import contextlib
import logging
import sys
import time
import uuid
from typing import Any

from fairlead_gateway import (
    access_log,
    admin,
    file_changes,
    idleness,
    metrics,
    news,
    replica_scrape,
    report,
    request_log,
    routes,
    saved_table,
    settings,
    tracing,
    watcher,
)
from fairlead_gateway.haproxy import control, router
from fairlead_gateway.haproxy.wanted import Readiness, build_options
from fairlead_gateway.nodes import knowledge, members, poller
from fairlead_gateway.server_calls import repository, server

_log = logging.getLogger(__name__)

_READ_AGE_S = 0.2
"""`/v1/routes` reads HAProxy again when the last reading is older than this many seconds."""

_FIRST_ANSWERS_S = 1.0
_SETTLE_S = 0.1
_RETRY_S = 0.5
_STUCK_S = 60.0
_FORGET_S = 900.0
"""How long the series of a revision that is gone are kept, so that the last of them are still scraped."""


class Stop:
    """A stop in two steps: the first signal makes the gateway unready, the second one ends it at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._again = asyncio.Event()

    def signal(self) -> None:
        """Take a signal to stop."""
        (self._again if self.asked.is_set() else self.asked).set()

    async def wait(self, delay_s: float) -> None:
        """Until the delay after the first signal is over, or the second one comes."""
        await self.asked.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._again.wait()


class Agent:
    """One gateway."""

    def __init__(
        self,
        settings_: settings.Settings,
        *,
        source: watcher.Source,
        nodes: members.NodeList,
        metrics_: metrics.Metrics,
        version: str,
    ):
        self._settings = settings_
        self._source = source
        self._known = knowledge.Knowledge()
        self._poller = poller.Poller(
            nodes, namespace=settings_.namespace, known=self._known, changed=self._note_change, metrics_=metrics_
        )
        self._metrics = metrics_
        self._table: routes.Table | None = None
        self._stop = Stop()
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._state: router.State | None = None
        self._state_at = 0.0
        self._index = report.RepositoryIndex()
        self._failure: str | None = None
        self._alive_at = time.monotonic()
        self._was_ready = False
        self._gone_since: dict[metrics.Key, float] = {}
        log_fd = request_log.open_pipe(settings_.state_dir)
        self._epoch = uuid.uuid4().hex
        self._news = news.News(self._epoch)
        self._shown: object = None
        self._scraper = replica_scrape.Scraper(metrics_, begun=self._news.note)
        self._scrape_due = asyncio.Event()
        self._compared: frozenset[str] = frozenset()
        self._idleness = idleness.Idleness()
        self._access = access_log.Writer(sys.stdout.buffer, metrics_.access_log) if settings_.has_access_log else None
        self._spans = tracing.start(settings_, metrics_, version=version)
        self._log_reader = request_log.Reader(
            log_fd,
            metrics_,
            on_remark=self._note_remark,
            on_request=self._idleness.note,
            access=self._access,
            record=None if self._spans is None else self._spans.record,
        )
        options = build_options(settings_, version)
        self._server_calls = server.ServerCalls(is_ready=self._is_ready, list_models=self._list_models, version=version)
        self._router = router.Router(settings_, options=options, log_fd=log_fd, metrics_=metrics_)
        self.guard = self._router.guard

    async def run(self, stop: Stop) -> None:
        """Serve until the stop's delay is over, then end HAProxy gracefully."""
        self._stop = stop
        self._table = saved_table.load(self._settings.state_dir)
        await self._router.adopt()
        runner = await admin.serve(self._build_answers(), self._settings.admin)
        calls = await self._server_calls.serve(self._settings.state_dir)
        tasks = [
            asyncio.create_task(self._follow_source(), name="source"),
            asyncio.create_task(self._follow_deaths(), name="deaths"),
            asyncio.create_task(self._log_reader.run(), name="request-log"),
            asyncio.create_task(self._poller.run(), name="nodes"),
            asyncio.create_task(self._run_passes(), name="passes"),
            asyncio.create_task(self._run_scrapes(), name="scrapes"),
            asyncio.create_task(file_changes.follow(self._settings, self._changed.set), name="files"),
        ]
        stopping = asyncio.create_task(stop.wait(self._settings.stop_delay_s))
        tasks.append(asyncio.create_task(self._follow_stop(), name="stop"))
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self._news.close()
            if stop.asked.is_set():
                await self._router.stop()
                self._log_reader.drain()
            if self._access is not None:
                self._access.close()
            if self._spans is not None:
                await asyncio.to_thread(self._spans.close)
            calls.close()
            await runner.cleanup()

    def _is_ready(self) -> bool:
        return self._was_ready and not self._stop.asked.is_set()

    def _find_readiness(self) -> Readiness:
        checked = Readiness.READY if self._was_ready else Readiness.UNCHECKED
        return Readiness.LEAVING if self._stop.asked.is_set() else checked

    def _note_change(self) -> None:
        self._changed.set()
        self._news.note()

    def _note_remark(self) -> None:
        """A server came up or went down, or a request is held: what was read of HAProxy a moment ago is old."""
        self._state_at = 0.0
        self._news.note()

    async def _follow_source(self) -> None:
        async for data in self._source.follow():
            table = routes.read_table(data, self._table or routes.EMPTY_TABLE)
            for model, reason in table.errors.items():
                _log.warning("route refused model=%s reason=%s", model, reason)
            self._metrics.set_route_errors(table.errors)
            if self._table is None or table.errors != self._table.errors:
                self._news.note()
            if table != self._table:
                # Saved before it is applied: a restarted gateway continues from here.
                saved_table.save(self._settings.state_dir, table)
                self._table = table
                self._changed.set()

    async def _follow_stop(self) -> None:
        await self._stop.asked.wait()
        _log.info("stopping delay_s=%.1f", self._settings.stop_delay_s)
        await self._router.leave()
        self._changed.set()
        await asyncio.Event().wait()

    async def _follow_deaths(self) -> None:
        while True:
            await self._router.process.died.wait()
            self._changed.set()
            await asyncio.sleep(_SETTLE_S)

    async def _run_passes(self) -> None:
        await self._follow_nodes()
        while True:
            self._changed.clear()
            await self._run_pass()
            self._alive_at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._changed.wait()

    async def _follow_nodes(self) -> None:
        """Let each node be asked once, for a moment at most: then HAProxy begins with the replicas that there are."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ANSWERS_S):
                while not self._known.is_asked():
                    self._changed.clear()
                    await self._changed.wait()

    async def _run_scrapes(self) -> None:
        async with replica_scrape.make_session() as session, contextlib.aclosing(self._scraper):
            while True:
                self._scrape_due.clear()
                if self._table is not None and self._state is not None:
                    self._scraper.start(session, report.places(self._table, self._state))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(replica_scrape.INTERVAL_S):
                        await self._scrape_due.wait()

    def _pause_s(self) -> float:
        if self._failure is not None:
            return _RETRY_S
        if self._state is not None and self._state.reload_due_s is not None:
            return self._state.reload_due_s
        if self._state is not None and not self._state.is_settled:
            return _RETRY_S
        return self._settings.pass_interval_s if self._was_ready else _SETTLE_S

    async def _run_pass(self) -> None:
        table = self._table
        if table is None:
            await self._router.guard.end_open_haproxy()
            return
        async with self._lock:
            try:
                state = await self._router.apply(table, self._known)
                # What was checked once stays ready: a replica that goes later is no reason to turn the gateway away.
                self._was_ready = self._was_ready or (state.unchecked == 0 and self._known.is_asked())
                await self._router.set_readiness(state, self._find_readiness())
            except control.HAProxyError as error:
                self._metrics.count_failure()
                if str(error) != self._failure:
                    _log.error("routes not applied error=%s", error)
                    self._news.note()
                self._failure = str(error)
                return
            self._failure = None
            self._keep_state(state)
        self._forget_series(table)
        self._follow_holds(table)
        self._metrics.measured.follow(
            {route.model: frozenset(each.name for each in route.revisions) for route in table.routes.values()}
        )
        compared = report.compared(table)
        if compared - self._compared:
            self._scrape_due.set()
        self._compared = compared

    def _keep_state(self, state: router.State) -> None:
        self._state = state
        self._state_at = time.monotonic()
        if self._table is not None:
            # What HAProxy has written by now is in it: a request that has just ended is no idleness.
            self._log_reader.drain()
            for model in report.busy(self._table, state):
                self._idleness.note(model)
        self._metrics.holds.waiting = state.observed.held
        shown = (
            state.live,
            {key: (one.is_up, one.is_draining) for key, one in state.observed.servers.items()},
            state.observed.held.keys(),
            self._find_idle(),
        )
        if shown != self._shown:
            self._shown = shown
            self._news.note()
        self._metrics.set_stable_up(report.stable_up(self._table, state) if self._table is not None else {})
        self._metrics.set_haproxy(
            is_up=not self._router.process.died.is_set(),
            old_workers=len(state.processes.old_workers),
            dropped_logs=state.observed.dropped_logs,
        )
        self._metrics.set_ready(is_ready=self._find_readiness_failure() is None)

    def _find_idle(self) -> frozenset[str]:
        """The models that may have no replica, and had no request for so long as their route says."""
        held = (route.model for route in self._table.routes.values() if route.hold is not None) if self._table else ()
        return frozenset(model for model in held if self._idleness.is_idle(model))

    def _follow_holds(self, table: routes.Table) -> None:
        limits_s = {route.model: route.hold.idle_s for route in table.routes.values() if route.hold is not None}
        self._idleness.follow(limits_s)
        self._metrics.holds.follow(limits_s)

    def _forget_series(self, table: routes.Table) -> None:
        now = time.monotonic()
        known = {(route.model, revision.name) for route in table.routes.values() for revision in route.revisions}
        series = self._metrics.requests.keys()
        self._gone_since = {key: self._gone_since.get(key, now) for key in series - known if key != ("", "")}
        if any(now - since > _FORGET_S for since in self._gone_since.values()):
            self._metrics.requests.forget(
                series - {key for key, since in self._gone_since.items() if now - since > _FORGET_S}
            )

    def _build_answers(self) -> admin.Answers:
        return admin.Answers(
            unhealthy=self._find_health_failure,
            unready=self._find_readiness_failure,
            routes=self._describe_routes,
            measurements=self._describe_measurements,
            changed=self._news.wait,
            metrics=self._metrics,
        )

    def _find_health_failure(self) -> str | None:
        if time.monotonic() - self._alive_at > _STUCK_S:
            return "the agent's loop has not finished a pass for a minute"
        if self._table is not None and self._router.process.died.is_set():
            return "HAProxy is not running"
        return None

    def _find_readiness_failure(self) -> str | None:
        if self._stop.asked.is_set():
            return "the gateway is stopping"
        if self._table is None:
            return "no routes have been read yet"
        if self._router.process.died.is_set():
            return f"HAProxy is not running: {self._failure or 'it has not been started yet'}"
        if self._state is None:
            return self._failure or "the routes are not applied yet"
        if not self._was_ready:
            if not self._known.is_listed:
                return "the list of nodes has not been read yet"
            if not self._known.is_asked():
                return "not every node has been asked for its replicas yet"
            return f"{self._state.unchecked} replicas have not been checked yet"
        return None

    async def _describe_routes(self) -> dict[str, Any] | None:
        """The body of `/v1/routes`, from what HAProxy was read to have at most a moment ago."""
        table = self._table
        if table is None or not await self._refresh_state(table):
            return None
        return report.routes_body(
            self._settings.gateway_id,
            table,
            self._state,
            activity=report.Activity(counted=self._scraper.begun, idle=self._find_idle()),
            nodes=self._known.views,
            failure=self._failure,
        )

    async def _list_models(self) -> repository.Index | None:
        """The index of the repository; None where it is not known which replicas take requests."""
        table = self._table
        if table is None or not await self._refresh_state(table) or self._state is None:
            return None
        return self._index.find(table, self._state)

    async def _refresh_state(self, table: routes.Table) -> bool:
        """Read HAProxy where the last reading is old; False where it can't be read."""
        async with self._lock:
            if self._state is None or time.monotonic() - self._state_at > _READ_AGE_S:
                try:
                    self._keep_state(await self._router.read(table))
                except control.HAProxyError as error:
                    _log.warning("haproxy unreadable error=%s", error)
                    return False
        return True

    def _describe_measurements(self, model: str) -> dict[str, Any] | None:
        """The body of `/v1/measurements`; None for a model without a route. What HAProxy has written is in it."""
        route = self._table.routes.get(model) if self._table else None
        if route is None:
            return None
        self._log_reader.drain()
        found = {
            revision.name: self._metrics.measured.counters_of(model, revision.name).body()
            for revision in route.revisions
        }
        return {"gateway": self._settings.gateway_id, "epoch": self._epoch, "revisions": found}
