"""Is this process worth keeping? Loop lag and watches that hear; and the small server that answers for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web

from fairlead_operator import telemetry
from fairlead_operator.clients.clock import Clock
from fairlead_operator.settings import Listen
from fairlead_operator.state import keys

LAG_PERIOD_S = 1.0
LAG_MAX_S = 30.0
DEAF_AFTER_S = 30.0

Check = Callable[[], str | None]
"""None while all is well, else a sentence."""


class WatchLedger:
    """Compares what the watch delivered with what a list shows: a stream that stays behind for long is deaf."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._delivered: dict[keys.ModelKey, str] = {}
        self._behind: dict[keys.ModelKey, tuple[str, float]] = {}

    def delivered(self, key: keys.ModelKey, resource_version: str) -> None:
        self._delivered[key] = resource_version
        suspicion = self._behind.get(key)
        if suspicion is not None and not _is_older(resource_version, suspicion[0]):
            del self._behind[key]

    def deleted(self, key: keys.ModelKey) -> None:
        self._delivered.pop(key, None)
        self._behind.pop(key, None)

    def compare(self, namespace: str | None, listed: Mapping[keys.ModelKey, str]) -> None:
        """Remember each object of which the list of a namespace (None: all) has a newer version than the watch."""
        now_s = self._clock.monotonic_s()
        for key, version in listed.items():
            if _is_older(self._delivered.get(key, ""), version):
                self._behind.setdefault(key, (version, now_s))
        for held in (self._behind, self._delivered):
            for key in [key for key in held if key not in listed and namespace in (None, key.namespace)]:
                del held[key]

    def find_deaf(self) -> frozenset[str]:
        """Namespaces whose watch has not brought for long what was listed; each is named once for what it missed."""
        now_s = self._clock.monotonic_s()
        deaf = [key for key, (_, since_s) in self._behind.items() if now_s - since_s > DEAF_AFTER_S]
        for key in deaf:
            self._behind[key] = (self._behind[key][0], now_s)
        return frozenset(key.namespace for key in deaf)


class LoopLag:
    """How late the event loop runs what is due."""

    def __init__(self, *, clock: Clock, metrics: telemetry.Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._last_s = clock.monotonic_s()

    async def measure(self) -> None:
        while True:
            asked_s = self._clock.monotonic_s()
            await asyncio.sleep(LAG_PERIOD_S)
            self._last_s = self._clock.monotonic_s()
            self._metrics.loop_lag_s.set(max(0.0, self._last_s - asked_s - LAG_PERIOD_S))

    def check(self) -> str | None:
        lag_s = self._clock.monotonic_s() - self._last_s - LAG_PERIOD_S
        return f"the event loop is {lag_s:.0f} s late" if lag_s > LAG_MAX_S else None


class Server:
    """``/healthz``, ``/readyz`` and ``/metrics``, also of a standby."""

    def __init__(
        self,
        listen: Listen,
        *,
        metrics: telemetry.Metrics,
        alive: Iterable[Check],
        ready: Callable[[], tuple[bool, str]],
    ) -> None:
        self._listen = listen
        self._metrics = metrics
        self._alive = tuple(alive)
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._listen.host, self._listen.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        problems = [problem for check in self._alive if (problem := check()) is not None]
        return web.Response(text="; ".join(problems) or "ok", status=500 if problems else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        is_ready, text = self._ready()
        return web.Response(text=text, status=200 if is_ready else 503)

    async def _exposition(self, _request: web.Request) -> web.Response:
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        # In a thread: the series of a thousand models take a tenth of a second, and the Lease is renewed on this loop.
        body = await asyncio.get_running_loop().run_in_executor(None, self._metrics.exposition)
        return web.Response(body=body, headers={"Content-Type": content_type})


def _is_older(one: str, other: str) -> bool:
    """Whether a resourceVersion is older; since 1.35 those of one resource may be compared as numbers."""
    if one.isdigit() and other.isdigit():
        return int(one) < int(other)
    return one != other
