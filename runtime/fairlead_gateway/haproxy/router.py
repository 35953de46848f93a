"""Brings HAProxy to what is wanted and reads back what it has: the gateway's set and verify."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_gateway import files, metrics, routes, settings
from fairlead_gateway.haproxy import certificate, changes, config, guard, pool, process, servers, tokens
from fairlead_gateway.haproxy.control import Control, HAProxyError
from fairlead_gateway.haproxy.observed import Observed, Processes
from fairlead_gateway.haproxy.wanted import NO_NAMES, Readiness, Wanted, build_wanted, map_files
from fairlead_gateway.nodes import knowledge

_log = logging.getLogger(__name__)

POOL_FILE = "pool.json"
_START_TIMEOUT_S = 20.0
_RELOAD_TIMEOUT_S = 60.0
_SEEN_AGE_S = 15.0
"""Greatest age in seconds of the server states that a restarted HAProxy gets; they are read every few seconds."""

_MAX_STEPS = 8
"""Changes that one application may need: a reload, commands, and what changed underneath meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What HAProxy was read to have, and how it compares with what was wanted.

    `sessions` are by place. `unchecked` replicas have not had their first check. `reload_due_s` is the time until a
    reload that is due will be done, None where none is; `is_settled` is false while servers are still to be removed or
    drained.
    `is_read_whole` is false while a worker is being replaced.
    """

    wanted: Wanted
    places: Mapping[pool.Key, int]
    observed: Observed
    processes: Processes
    sessions: Mapping[int, int]
    live: Mapping[str, str]
    unchecked: int
    reload_due_s: float | None
    is_settled: bool
    is_read_whole: bool


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
        self._readiness = Readiness.UNCHECKED
        self._refused: str | None = None
        self._reloaded_at = 0.0
        self._seen: tuple[float, Observed | None] = (0.0, None)
        self._built: tuple[routes.Table, Wanted] | None = None
        self._kept_names = NO_NAMES
        self._check_ms = config.CHECK_INTERVALS_MS[0]
        self._pool = self._load_pool()
        self._targets = servers.NO_TARGETS
        self._certificates = certificate.Store(settings_.tls, self._dir) if settings_.tls is not None else None
        self.guard = guard.Guard(settings_, process_=self.process, control=self._control, metrics_=metrics_)

    async def adopt(self) -> None:
        """Take over a HAProxy that an earlier agent left, if there is one. Write what no table changes."""
        is_adopted = self.process.adopt_recorded()
        if not is_adopted:
            # An agent that was killed before it could write the record: HAProxy itself says who it is.
            with contextlib.suppress(HAProxyError):
                master = (await self._control.processes()).master
                is_adopted = master is not None and self.process.adopt(master)
        if is_adopted:
            with contextlib.suppress(HAProxyError):
                self._take_over(await self._control.observe())
        (self._dir / config.ERRORS_DIR).mkdir(exist_ok=True)
        files.write(self._dir / config.HOLD_FILE, config.hold_script())
        files.write(self._dir / tokens.LUA_FILE, tokens.script())
        for code in config.ERRORS:
            files.write(self._dir / config.ERRORS_DIR / f"{code}.http", config.error_response(code))

    async def apply(self, table: routes.Table, known: knowledge.Knowledge) -> State:
        """Bring HAProxy to the table and the known replicas, and return what it was then read to have.

        Raises:
            HAProxyError: when it could not be brought there; it goes on with what it had, unless it lets in everybody.
        """
        try:
            state = await self._apply(table, known)
        except HAProxyError:
            await self.guard.end_open_haproxy()
            raise
        await self.guard.judge(state.observed)
        return state

    async def _apply(self, table: routes.Table, known: knowledge.Knowledge) -> State:
        found = await self.guard.settle()
        if found.token_keys != self._options.token_keys:
            self._options, self._built = dataclasses.replace(self._options, token_keys=found.token_keys), None
        current = self._read_certificate()
        await self._settle_running_certificate(current)
        self._assign_places(table, known)
        wanted = dataclasses.replace(self._build_wanted(table), key_map=found.key_map, token_map=found.token_map)
        if self.process.died.is_set():
            await self._start(wanted, current)
        tried: tuple[str, ...] = ()
        for _ in range(_MAX_STEPS):
            observed = await self._control.observe()
            shape = config.parse_shape(observed.digest)
            lines = servers.find_commands(self._targets, observed, shape) if shape is not None else ()
            is_settled = not lines and not servers.is_drain_due(self._targets, observed)
            if lines and lines != tried:
                tried = lines
                await self._change_servers(lines)
                continue
            match changes.find_change(wanted, observed):
                case changes.Nothing():
                    await self._settle_certificate(current)
                    return await self._finish(wanted, observed, is_settled=is_settled)
                case changes.Reload() if self._has_unused_names(table):
                    # It is due anyhow: the names that nothing asks for any more go with it.
                    rebuilt = self._build_wanted(table)
                    wanted = dataclasses.replace(rebuilt, key_map=wanted.key_map, token_map=wanted.token_map)
                case changes.Reload(wanted=digest):
                    state = await self._finish(wanted, observed, is_settled=is_settled)
                    wait_s = self._reload_wait_s(len(state.processes.old_workers))
                    if wait_s > 0:
                        return dataclasses.replace(state, reload_due_s=wait_s)
                    await self._reload(wanted, digest, current)
                case changes.Commands(lines=lines):
                    self._write_maps(wanted)
                    await self._control.run(lines)
        raise HAProxyError("HAProxy's state still differs after all corrections")

    async def read(self, table: routes.Table) -> State:
        """What HAProxy has now, compared with the table. Changes nothing."""
        return await self._state(self._build_wanted(table), await self._control.observe(), is_settled=True)

    async def set_readiness(self, state: State, readiness: Readiness) -> None:
        """Make `/v2/health/ready` on the data port say so."""
        self._readiness = readiness
        lines = changes.ready_commands(readiness, state.observed)
        if lines:
            self._write_maps(state.wanted)
            await self._control.run(lines)

    async def leave(self) -> None:
        """Say on the data port that the gateway stops, also while routes can't be applied."""
        self._readiness = Readiness.LEAVING
        await self._try_to_run(changes.readiness_command(Readiness.LEAVING))

    async def stop(self) -> None:
        """End HAProxy gracefully: each open connection gets the answer to one more request.

        HAProxy's connections to itself, for the second way of calls, end before: it would wait for them.
        """
        await self._try_to_run(changes.readiness_command(Readiness.ENDING), "disable server rpc/self")
        await self.process.stop(grace_s=self._settings.stop_grace_s)
        self._control.close()

    async def _try_to_run(self, *lines: str) -> None:
        """In the worker that routes now. A replaced one has old tables, and keys that may be revoked."""
        with contextlib.suppress(HAProxyError):  # one that can't be reached answers nobody
            await self._control.run(lines)

    async def _settle_running_certificate(self, current: certificate.Certificate | None) -> None:
        """Give a running HAProxy this pair, whatever becomes of the routes. One without TLS is configured first."""
        if current is None or self.process.died.is_set():
            return
        if await self._control.find_certificate() is not None:
            await self._settle_certificate(current)

    def _read_certificate(self) -> certificate.Certificate | None:
        """What clients of the data port get; None where they use no TLS."""
        if self._certificates is None:
            return None
        current = self._certificates.read()
        if current is None:
            raise HAProxyError(f"no certificate for the data port: {self._certificates.error}")
        return current

    def _keep_certificate(self, current: certificate.Certificate | None) -> None:
        if self._certificates is not None and current is not None:
            self._certificates.keep(current)

    async def _settle_certificate(self, current: certificate.Certificate | None) -> None:
        """Hand HAProxy the pair if it has another one, and report the one that it has."""
        if self._certificates is None or current is None:
            return
        shown = await self._control.find_certificate()
        if shown is None or shown.fingerprint != current.fingerprint or not self._certificates.is_kept(current):
            try:
                await self._control.set_certificate(current)
            except HAProxyError as error:
                self._certificates.note_refusal(str(error))
            else:
                self._certificates.keep(current)
                _log.info("certificate changed fingerprint=%s", current.fingerprint)
                shown = await self._control.find_certificate()
        expires_at = shown.expires_at if shown is not None else None
        if expires_at is not None and self._certificates.is_first_expiry(expires_at, time.time()):
            _log.warning("certificate expired fingerprint=%s: clients refuse it", current.fingerprint)
        self._metrics.set_certificate(expires_at=expires_at, is_refused=self._certificates.error is not None)

    def _assign_places(self, table: routes.Table, known: knowledge.Knowledge) -> None:
        """Find the replicas of each revision, and how often they are to be checked."""
        self._give_places(table)
        self._targets = servers.find_targets(table.routes.values(), self._pool, known)
        check_ms = config.check_interval_ms(self._targets.count, self._check_ms)
        if check_ms != self._check_ms:
            self._check_ms, self._built = check_ms, None

    def _give_places(self, table: routes.Table) -> None:
        """Give each revision its place, on disk before it is used."""
        keys = [(route.model, each.name) for route in table.routes.values() for each in route.revisions]
        try:
            self._keep_pool(self._pool.assign(keys))
        except pool.PoolFullError as error:
            raise HAProxyError(str(error)) from error

    def _take_over(self, observed: Observed) -> None:
        """Go on from what a running HAProxy has: its places and its interval of checks."""
        shape = config.parse_shape(observed.digest)
        if shape is None:
            return
        self._check_ms = shape.check_ms
        running = pool.from_map(observed.backend_map or {}, shape.pool)
        taken = set(running.places.values())
        rest = {
            key: place for key, place in self._pool.places.items() if key not in running.places and place not in taken
        }
        self._keep_pool(pool.Pool(size=max(self._pool.size, shape.pool), places={**rest, **running.places}))

    def _keep_pool(self, changed: pool.Pool) -> None:
        if changed != self._pool:
            files.write(self._dir / POOL_FILE, json.dumps(pool.to_json(changed)))
            self._pool, self._built = changed, None

    def _load_pool(self) -> pool.Pool:
        try:
            return pool.from_json(json.loads((self._dir / POOL_FILE).read_text()))
        except FileNotFoundError:
            return pool.Pool()
        except (OSError, ValueError) as error:
            _log.warning("saved pool unreadable error=%s", error)
            return pool.Pool()

    async def _change_servers(self, lines: tuple[str, ...]) -> None:
        refused = await self._control.try_each(lines)
        self._metrics.count_server_changes(len(lines), refused=len(refused))
        for answer in refused[:8]:
            _log.debug("server command refused answer=%s", answer)

    async def _finish(self, wanted: Wanted, observed: Observed, *, is_settled: bool) -> State:
        state = await self._state(wanted, observed, is_settled=is_settled)
        self._release(state)
        return state

    def _release(self, state: State) -> None:
        """Release the places that are unused: without a route, a server, or a request in any worker."""
        wanted, observed = state.wanted, state.observed
        if not state.is_read_whole:
            return
        held = {config.parse_place(backend) for backend, _ in observed.servers} | state.sessions.keys()
        led = (observed.backend_map or {}).keys() | wanted.backend_map.keys()
        self._keep_pool(
            self._pool.release(
                {
                    key
                    for key, place in self._pool.places.items()
                    if f"{key[0]}/{key[1]}" not in led and place not in held
                }
            )
        )

    def _build_wanted(self, table: routes.Table) -> Wanted:
        """What the table asks for, built once a table: for a thousand models it takes a third of a second.

        The names of headers and cookies that went with the last table stay, or a way back would wait for a reload.
        """
        if self._built is None or self._built[0] is not table:
            self._give_places(table)
            built = build_wanted(
                table.routes.values(), self._options, self._pool, check_ms=self._check_ms, kept=self._kept_names
            )
            self._built = (table, built)
            self._kept_names |= config.find_names(table.routes.values())
        return self._built[1]

    def _has_unused_names(self, table: routes.Table) -> bool:
        used = config.find_names(table.routes.values())
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

    async def _state(self, wanted: Wanted, observed: Observed, *, is_settled: bool) -> State:
        self._seen = (time.monotonic(), observed)
        processes = await self._control.processes()
        sessions = await self._control.sessions(processes)
        # While a worker is being replaced, an answer says nothing about where the next request goes.
        is_read_whole = processes.worker == observed.pid and sessions is not None
        return State(
            wanted=wanted,
            places=self._pool.places,
            observed=observed,
            processes=processes,
            sessions=sessions or {},
            live=changes.live_versions(wanted, observed) if is_read_whole else {},
            unchecked=servers.count_unchecked(self._targets, observed),
            reload_due_s=None,
            is_settled=is_settled,
            is_read_whole=is_read_whole,
        )

    async def _start(self, wanted: Wanted, current: certificate.Certificate | None) -> None:
        began = time.monotonic()
        self._readiness = Readiness.UNCHECKED
        # What was up a moment ago is taken to be up: to be refused there and sent elsewhere costs a request nothing, to
        # wait for the first check would cost it a 503.
        seen_at, seen = self._seen
        self._keep_certificate(current)
        self._write_all(wanted, seen if began - seen_at < _SEEN_AGE_S else None)
        self.process.start()
        self.guard.note_start()
        self._metrics.count_start()
        await self._wait_for(wanted.digest, _START_TIMEOUT_S)
        _log.info("haproxy started pid=%s seconds=%.3f", self.process.pid, time.monotonic() - began)

    async def _reload(self, wanted: Wanted, digest: str, current: certificate.Certificate | None) -> None:
        if self._refused == digest:
            raise HAProxyError("HAProxy refused this configuration before, and it has not changed")
        candidate = f"{config.CONFIG_FILE}.candidate"
        seen = await self._control.observe()
        files.write(self._dir / candidate, _whole_config(wanted, seen))
        # The check loads the same files as the worker will, so they are written for it too.
        self._keep_certificate(current)
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
        files.write(self._dir / config.CONFIG_FILE, _whole_config(wanted, observed))
        files.write(self._dir / config.SERVERS_STATE, changes.state_file(observed))
        self._write_maps(wanted)

    def _write_maps(self, wanted: Wanted) -> None:
        for name, text in map_files(wanted, self._readiness).items():
            files.write(self._dir / name, text)


def _whole_config(wanted: Wanted, observed: Observed | None) -> str:
    """The configuration with the servers that were seen: a worker knows from its start only what it reads in files."""
    return wanted.config + config.pool_text(wanted.shape, changes.static_servers(observed))
