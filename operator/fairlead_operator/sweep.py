"""What keeps the queue honest without watches: a full listing now and then."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead_operator import composition, health, queue, telemetry, waiting
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import cluster
from fairlead_operator.state import keys

JITTER_RATIO = 0.1
RETRY_S = 5.0
FULL_ROUNDS = 12
"""In one of so many listings every model gets a pass, whatever is known of it."""
SEEDING_MAX = 2
SEEDED_MAX = 200
"""A listing waits while more keys than this wait for a worker: ten thousand objects are never in memory at once."""


class Namespace(Protocol):
    """What a listing asks of a namespace."""

    @property
    def clusters(self) -> tuple[str, ...]: ...

    def routes(self) -> Mapping[str, str] | None: ...


log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Sweep:
    """Knows every key that ever was seen, and lists everything now and then: the argument for correctness."""

    work: queue.KeyedQueue[keys.Key]
    reads: cluster.KubernetesReads
    namespaces: Callable[[str], Namespace]
    waits: waiting.Waiting
    composed: composition.Composition
    watched: health.WatchLedger
    metrics: telemetry.Metrics
    clock: Clock
    _known: set[keys.ModelKey] = field(default_factory=set)
    _intents: dict[keys.ModelKey, Hashable] = field(default_factory=dict)
    _listed: dict[keys.ModelKey, kubernetes.Object] = field(default_factory=dict)
    _rounds: dict[str | None, int] = field(default_factory=dict)
    _seeding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEEDING_MAX))

    def notice(self, key: keys.ModelKey, *, version: str = "", intent: Hashable = None) -> None:
        """A watch or a list named this model: it needs a pass, and is remembered until one finds it gone.

        ``intent`` is what somebody asks for (None: not known). While it stays the same, the delay after a failure does.
        A model whose last pass ended with this ``version`` needs none.
        """
        self._known.add(key)
        if version and (held := self.waits.get(key)) is not None and held.version == version:
            self._intents.setdefault(key, intent)
            return
        if intent is None or self._intents.get(key) == intent:
            self.waits.touch(key)
            return
        self._intents[key] = intent
        self.waits.take(key)
        self.work.add_now(key)
        for name in self.namespaces(key.namespace).clusters:
            self.work.forgive(keys.RayKey(key.namespace, name))

    def forget(self, key: keys.ModelKey) -> None:
        """The object is gone and nothing of it is left."""
        self._known.discard(key)
        self._intents.pop(key, None)
        self._listed.pop(key, None)

    def take_listed(self, key: keys.ModelKey) -> kubernetes.Object | None:
        """The object as a full listing brought it, for the first pass after the start; once."""
        return self._listed.pop(key, None)

    async def resync(self, namespace: str | None, configured: Iterable[str] = ()) -> None:
        """Queue every model of a namespace (None: of all) whose state may differ from what its last pass saw.

        A model that waits and has the version that its pass ended with is left alone, but in each ``FULL_ROUNDS``-th
        listing. ``configured`` are namespaces with a Ray cluster: their last model may have gone while no operator ran.

        Raises:
            errors.FairleadError: Something could not be listed; what could be is queued.
        """
        started_s = self.clock.monotonic_s()
        is_full = self._rounds.get(namespace, 0) % FULL_ROUNDS == 0
        listed: dict[keys.ModelKey, str] = {}
        async with self._seeding:
            async for page in self.reads.list_pages(paths.models(namespace)):
                listed |= self._queue_page(page.get("items") or (), is_full=is_full)
                await self.work.wait_below(SEEDED_MAX)
        self._rounds[namespace] = self._rounds.get(namespace, 0) + 1
        self.watched.compare(namespace, listed)
        own = {key for key in self._known if namespace in (None, key.namespace)}
        for key in sorted(own - set(listed)):
            self.notice(key)
        self.composed.note_listed(namespace)
        served = sorted({key.namespace for key in own | set(listed)} | set(configured))
        failed = [name for name in served if not self._notice_leftovers(name)]
        self.metrics.resync_s.set(self.clock.monotonic_s() - started_s)
        if failed:
            raise errors.Unreachable(f"the route tables of {', '.join(failed)} can't be read")

    def _queue_page(self, bodies: Iterable[kubernetes.Object], *, is_full: bool) -> dict[keys.ModelKey, str]:
        listed: dict[keys.ModelKey, str] = {}
        for body in bodies:
            metadata = body["metadata"]
            key = keys.ModelKey(metadata["namespace"], metadata["name"])
            listed[key] = metadata["resourceVersion"]
            self.composed.expect(key)
            if self.waits.get(key) is None:
                self._listed[key] = body
            self.notice(key, version="" if is_full else listed[key])
        return listed

    def _notice_leftovers(self, namespace: str) -> bool:
        """Ray clusters, and models forced away while no operator ran: those are known by their routes alone."""
        view = self.namespaces(namespace)
        for name in view.clusters:
            self.waits.touch(keys.RayKey(namespace, name))
        routes = view.routes()
        for model in routes or ():
            key = keys.ModelKey(namespace, model)
            if key not in self._known:
                self.notice(key)
        return routes is not None


async def repeat(what: str, step: Callable[[], Awaitable[None]], *, every_s: float, rng: random.Random) -> None:
    """Run a step for ever; one that fails is logged and tried again soon, then later. This is an outermost loop."""
    failures = 0
    while True:
        delay_s = every_s
        try:
            await step()
            failures = 0
        except errors.FairleadError as error:
            log.warning("%s failed", what, extra={"error": str(error)})
            delay_s = min(every_s, RETRY_S * 2.0 ** min(failures, 30))
            failures += 1
        except Exception:
            log.exception("%s failed unexpectedly", what)
        await asyncio.sleep(delay_s * (1 + rng.uniform(-JITTER_RATIO, JITTER_RATIO)))
