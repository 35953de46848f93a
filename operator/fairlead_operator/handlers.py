"""The watches: Kopf brings events, one instance for each namespace, and a handler takes only the key from each.

Kopf ends all its tasks, and every later task of its event loop, when one watch is refused for long. So each instance
has a thread and an event loop of its own: a namespace that is gone or forbidden costs its neighbours nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol

import kopf
from typing_extensions import override

from fairlead_operator.api import names
from fairlead_operator.clients import kubernetes
from fairlead_operator.clients.clock import Clock
from fairlead_operator.state import keys

RESTART_FIRST_S = 1.0
RESTART_MAX_S = 60.0
HEALTHY_S = 300.0
"""A watch that ran so long is started again after the first delay."""
BEAT_S = 1.0
WATCHER_TASK_PREFIX = "watcher for "
"""Source: Kopf 1.45.2 names its watching tasks so in ``_core/reactor/orchestration.py``."""

log = logging.getLogger(__name__)


class Notice(Protocol):
    """Who hears of events."""

    def noticed(self, key: keys.ModelKey, resource_version: str, intent: Hashable) -> None:
        """``intent`` changes when somebody asks for something: by the spec, a deletion or a request."""

    def deleted(self, key: keys.ModelKey) -> None: ...


class NamespaceWatch:
    """The watch of one namespace (None: of all), started again whenever it ends. Notices arrive on the given loop."""

    def __init__(
        self,
        namespace: str | None,
        notice: Notice,
        credentials: Callable[[], Awaitable[kubernetes.Credentials]],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
    ) -> None:
        self.namespace = namespace
        self._notice = notice
        self._credentials = credentials
        self._main_loop = loop
        self._clock = clock
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._stop_one: asyncio.Event | None = None
        self._ended = threading.Event()
        self._watching_at_s = clock.monotonic_s()
        self.starts = 0
        self._thread = threading.Thread(target=self._run, name=f"watch {namespace or 'all'}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def restart(self) -> None:
        """End the present watch; another one begins."""
        self._watching_at_s = self._clock.monotonic_s()
        loop, stop = self._own_loop, self._stop_one
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself just now
                loop.call_soon_threadsafe(stop.set)

    def stop(self) -> None:
        self._ended.set()
        self.restart()

    def silent_s(self) -> float:
        """For how long no watching task has been there; one that was cancelled leaves Kopf alive and deaf."""
        return self._clock.monotonic_s() - self._watching_at_s

    def _run(self) -> None:
        delay_s = RESTART_FIRST_S
        while not self._ended.is_set():
            began_s = self._clock.monotonic_s()
            self.starts += 1
            try:
                asyncio.run(self._watch())
                error = "it ended"
            except BaseException as ended:  # noqa: BLE001 - the outermost loop of a thread
                error = repr(ended)
            if self._ended.is_set():
                return
            delay_s = RESTART_FIRST_S if self._clock.monotonic_s() - began_s > HEALTHY_S else delay_s
            about = {"namespace": self.namespace or "all", "error": error, "retry_s": delay_s}
            log.warning("the watch is started again", extra=about)
            self._ended.wait(delay_s)
            delay_s = min(RESTART_MAX_S, 2 * delay_s)

    async def _watch(self) -> None:
        self._own_loop, self._stop_one = asyncio.get_running_loop(), asyncio.Event()
        beating = asyncio.create_task(self._beat())
        try:
            await kopf.operator(
                registry=build_registry(self, self._fetch_credentials),
                settings=build_settings(),
                clusterwide=self.namespace is None,
                namespaces=() if self.namespace is None else (self.namespace,),
                stop_flag=self._stop_one,
            )
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            if any(task.get_name().startswith(WATCHER_TASK_PREFIX) for task in asyncio.all_tasks()):
                self._watching_at_s = self._clock.monotonic_s()
            await asyncio.sleep(BEAT_S)

    async def _fetch_credentials(self) -> kubernetes.Credentials:
        fetching = asyncio.run_coroutine_threadsafe(_await(self._credentials()), self._main_loop)
        return await asyncio.wrap_future(fetching)

    def noticed(self, key: keys.ModelKey, resource_version: str, intent: Hashable) -> None:
        self._main_loop.call_soon_threadsafe(self._notice.noticed, key, resource_version, intent)

    def deleted(self, key: keys.ModelKey) -> None:
        self._main_loop.call_soon_threadsafe(self._notice.deleted, key)


async def _await(wait: Awaitable[kubernetes.Credentials]) -> kubernetes.Credentials:
    return await wait


def build_registry(
    notice: Notice, credentials: Callable[[], Awaitable[kubernetes.Credentials]]
) -> kopf.OperatorRegistry:
    """The only things asked of Kopf: log in, and tell what its watch brings."""
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            insecure=found.is_insecure,
            scheme=found.scheme,
            token=found.token,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
        )

    async def model_event(
        *,
        type: str | None,  # noqa: A002
        namespace: str,
        name: str,
        body: Any,
        **_: Any,
    ) -> None:
        key = keys.ModelKey(namespace, name)
        if type == "DELETED":
            notice.deleted(key)
        else:
            notice.noticed(key, body["metadata"].get("resourceVersion", ""), intent_of(body))

    kopf.on.login(registry=registry)(login)
    kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(model_event)
    return registry


def intent_of(body: Any) -> Hashable:
    """What somebody asks for: it changes with the spec, a deletion and a request, not with the rest of the status."""
    metadata, status = body["metadata"], body.get("status") or {}
    request = status.get("request") or {}
    return (metadata.get("generation"), metadata.get("deletionTimestamp"), request.get("id"))


class _NoDiffBase(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf's exports have no types
    """Nothing is compared with what was handled last, as there are no handlers of changes."""

    @override
    def build(self, **_: Any) -> Any:
        return {}

    @override
    def fetch(self, **_: Any) -> None:
        return None

    @override
    def store(self, **_: Any) -> None:
        """Keeps nothing."""


def build_settings() -> kopf.OperatorSettings:
    """Kopf as an event source and nothing else. Each line: what its default would do."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # peers of one priority all pause; we have a Lease
    settings.posting.enabled = False  # an event for each log line
    settings.scanning.disabled = True  # lists CRDs and namespaces, which our rules don't allow
    settings.networking.request_timeout = 30  # five minutes
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8)  # then it ends, and is started again by us
    settings.networking.enforce_retry_after = True
    # Bookmarks come each 60 s, so silence for 70 s is a dead stream; watches should not all end at the same time.
    settings.watching.server_timeout = 240 + random.randrange(60)  # noqa: S311 - jitter
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = None  # a 410 on a continue token ends the process
    settings.queueing.worker_limit = None  # handlers are trivial, a limit only adds latency
    settings.queueing.idle_timeout = 0.1  # for five seconds each object's task would keep the object as it was listed
    settings.process.ultimate_exiting_timeout = None  # SIGKILL after ten minutes
    settings.persistence.diffbase_storage = _NoDiffBase()  # copies each object at each event
    return settings
