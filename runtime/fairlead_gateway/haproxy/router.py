"""Brings HAProxy to what is wanted and reads back what it has: the gateway's set and verify."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_gateway import metrics, routes, settings
from fairlead_gateway.haproxy import changes, config, process
from fairlead_gateway.haproxy.control import Control, HAProxyError
from fairlead_gateway.haproxy.observed import Observed, Processes
from fairlead_gateway.haproxy.wanted import NO_NAMES, READY_KEY, Wanted, build_wanted, map_text

_log = logging.getLogger(__name__)

_START_TIMEOUT_S = 20.0
_RELOAD_TIMEOUT_S = 60.0
_SEEN_AGE_S = 15.0
"""How old a reading of the servers may be for a HAProxy that is started anew; one is taken every few seconds."""

_MAX_STEPS = 8
"""Changes that one application may need: a reload, commands, and what changed underneath meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What HAProxy was read to have, and how it compares with what was wanted.

    `reload_due_s` is the time until a reload that is due will be done; None where none is.
    """

    wanted: Wanted
    observed: Observed
    processes: Processes
    sessions: Mapping[str, int]
    live: Mapping[str, str]
    unchecked: int
    reload_due_s: float | None


class Router:
    """The one that changes HAProxy. Calls must not overlap."""

    def __init__(
        self, settings_: settings.Settings, *, options: config.Options, log_fd: int, metrics_: metrics.Metrics
    ):
        self._settings = settings_
        self._options = options
        self._metrics = metrics_
        self._dir = settings_.state_dir
        self.process = process.Process(settings_, log_fd=log_fd)
        self._control = Control(settings_.state_dir)
        self._is_ready = False
        self._refused: str | None = None
        self._reloaded_at = 0.0
        self._seen: tuple[float, Observed | None] = (0.0, None)
        self._built: tuple[routes.Table, Wanted] | None = None
        self._kept_names = NO_NAMES
        (self._dir / config.ERRORS_DIR).mkdir(exist_ok=True)
        for code in config.ERRORS:
            process.write_file(self._dir / config.ERRORS_DIR / f"{code}.http", config.error_response(code))

    async def adopt(self) -> bool:
        """Take over a HAProxy that an earlier agent left; False when there is none."""
        if self.process.adopt_recorded():
            return True
        # An agent that was killed before it could write the record: HAProxy itself says who it is.
        with contextlib.suppress(HAProxyError):
            master = (await self._control.processes()).master
            return master is not None and self.process.adopt(master)
        return False

    async def apply(self, table: routes.Table) -> State:
        """Bring HAProxy to the table, and return what it was then read to have.

        Raises:
            HAProxyError: when it could not be brought there; it goes on with what it had.
        """
        wanted = self._wanted_of(table)
        if self.process.died.is_set():
            await self._start(wanted)
        for _ in range(_MAX_STEPS):
            observed = await self._control.observe()
            match changes.find_change(wanted, observed):
                case changes.Nothing():
                    return await self._state(wanted, observed)
                case changes.Reload() if self._forgets_names(table):
                    # It is due anyhow: the names that nothing asks for any more go with it.
                    wanted = self._wanted_of(table)
                case changes.Reload(wanted=digest):
                    state = await self._state(wanted, observed, reload_due_s=0.0)
                    wait_s = self._reload_wait_s(len(state.processes.old_workers))
                    if wait_s > 0:
                        return dataclasses.replace(state, reload_due_s=wait_s)
                    await self._reload(wanted, digest)
                case changes.Commands(lines=lines):
                    self._write_maps(wanted)
                    await self._control.run(lines)
        raise HAProxyError("HAProxy does not keep what it is told")

    async def read(self, table: routes.Table) -> State:
        """What HAProxy has now, compared with the table. Changes nothing."""
        return await self._state(self._wanted_of(table), await self._control.observe())

    async def set_ready(self, state: State, *, is_ready: bool) -> None:
        """Make `/v2/health/ready` on the data port say so."""
        self._is_ready = is_ready
        lines = changes.ready_commands(is_ready=is_ready, observed=state.observed)
        if lines:
            self._write_maps(state.wanted)
            await self._control.run(lines)

    async def stop(self) -> None:
        """End HAProxy gracefully."""
        await self.process.stop(grace_s=self._settings.stop_grace_s)
        self._control.close()

    def _wanted_of(self, table: routes.Table) -> Wanted:
        """What the table asks for, built once a table: for a thousand models it takes a third of a second.

        The names of headers and cookies that went with the last table stay, or a way back would wait for a reload.
        """
        if self._built is None or self._built[0] is not table:
            self._built = (table, build_wanted(table.routes.values(), self._options, self._kept_names))
            self._kept_names |= config.names_of(table.routes.values())
        return self._built[1]

    def _forgets_names(self, table: routes.Table) -> bool:
        used = config.names_of(table.routes.values())
        if self._kept_names == used:
            return False
        self._kept_names, self._built = used, None
        return True

    def _reload_wait_s(self, old_workers: int) -> float:
        """How long a reload has to wait.

        A replaced worker lives as long as its idle connections, a minute at most. The wait grows with their number, so
        that a stream of changes ends at about eight of them and not at one for each change.
        """
        return self._reloaded_at + 0.1 * old_workers**2 - time.monotonic()

    async def _state(self, wanted: Wanted, observed: Observed, *, reload_due_s: float | None = None) -> State:
        self._seen = (time.monotonic(), observed)
        processes = await self._control.processes()
        sessions = await self._control.sessions(processes)
        # While a worker is being replaced, an answer says nothing about where the next request goes.
        is_settled = processes.worker == observed.pid and sessions is not None
        return State(
            wanted=wanted,
            observed=observed,
            processes=processes,
            sessions=sessions or {},
            live=changes.live_versions(wanted, observed) if is_settled else {},
            unchecked=changes.unchecked_slots(wanted, observed),
            reload_due_s=reload_due_s,
        )

    async def _start(self, wanted: Wanted) -> None:
        began = time.monotonic()
        self._is_ready = False
        # What was up a moment ago is taken to be up: to be refused there and sent elsewhere costs a request nothing, to
        # wait for the first check would cost it a 503.
        seen_at, seen = self._seen
        self._write_all(wanted, seen if began - seen_at < _SEEN_AGE_S else None)
        self.process.start()
        self._metrics.count_start()
        await self._wait_for(wanted.digest, _START_TIMEOUT_S)
        _log.info("haproxy started pid=%s seconds=%.3f", self.process.pid, time.monotonic() - began)

    async def _reload(self, wanted: Wanted, digest: str) -> None:
        if self._refused == digest:
            raise HAProxyError("the configuration was refused before and has not changed")
        candidate = f"{config.CONFIG_FILE}.candidate"
        process.write_file(self._dir / candidate, wanted.config)
        # The check loads the same files as the worker will, so they are written for it too.
        self._write_maps(wanted)
        try:
            await self.process.check(candidate)
        except HAProxyError:
            self._refused = digest
            raise
        # As late as can be: what a check finds after this line the new worker has to find out itself.
        self._write_all(wanted, await self._control.observe())
        answer = await self._control.ask_master("reload", timeout_s=_RELOAD_TIMEOUT_S)
        if "Success=1" not in answer:
            raise HAProxyError(f"reload: {answer[:1000]}")
        await self._wait_for(digest, _START_TIMEOUT_S)
        self._reloaded_at = time.monotonic()
        self._metrics.count_reload()

    async def _wait_for(self, digest: str, timeout_s: float) -> None:
        """Wait until the worker with this configuration is the one that answers."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.died.is_set():
                raise HAProxyError(f"HAProxy ended: {self.process.output_tail()}")
            with contextlib.suppress(HAProxyError):
                observed = await self._control.observe()
                if observed.digest == digest and (await self._control.processes()).worker == observed.pid:
                    return
            await asyncio.sleep(0.02)
        raise HAProxyError(f"the worker with configuration {digest} did not answer: {self.process.output_tail()}")

    def _write_all(self, wanted: Wanted, observed: Observed | None) -> None:
        process.write_file(self._dir / config.CONFIG_FILE, wanted.config)
        process.write_file(self._dir / config.SERVERS_STATE, changes.state_file(wanted, observed))
        self._write_maps(wanted)

    def _write_maps(self, wanted: Wanted) -> None:
        ready = {READY_KEY: "1" if self._is_ready else "0"}
        process.write_file(self._dir / config.ROUTE_MAP, map_text({**ready, **wanted.route_map}))
        process.write_file(self._dir / config.VERSION_MAP, map_text(wanted.version_map))
        process.write_file(self._dir / config.MATCH_MAP, map_text(wanted.match_map))
