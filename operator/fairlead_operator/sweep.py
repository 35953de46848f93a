"""What keeps the queue honest without watches: a full listing now and then."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead_operator import composition, health, queue, telemetry, waiting
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import cluster, gateway
from fairlead_operator.state import keys, knowledge

JITTER_RATIO = 0.1
RETRY_S = 5.0
FULL_ROUNDS = 12
"""In one of so many listings every model gets a pass, whatever is known of it."""
FIRST_ANSWERS_S = 10.0
FIRST_ANSWERS_POLL_S = 0.05
SEEDING_MAX = 2
SEEDED_MAX = 200
"""A listing waits while more keys than this wait for a worker: ten thousand objects are never in memory at once."""


class Namespace(Protocol):
    """What a listing asks of a namespace."""

    def is_pending(self) -> bool: ...

    @property
    def clusters(self) -> tuple[str, ...]: ...

    def routes(self) -> Mapping[str, str] | None: ...

    def gateways(self) -> gateway.GatewaysEvidence: ...


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
    on_listed: Callable[[str | None], None]
    """Called with the namespace (None: of all) once its models are listed and queued, or could not be listed."""
    _known: set[keys.ModelKey] = field(default_factory=set)
    _intents: dict[keys.ModelKey, Hashable] = field(default_factory=dict)
    _listed: dict[keys.ModelKey, kubernetes.Object] = field(default_factory=dict)
    _newest: dict[keys.ModelKey, float] = field(default_factory=dict)
    """The newest version that a watch or a list named; infinite where the API server has to be asked for it."""
    _rounds: dict[str | None, int] = field(default_factory=dict)
    _seeding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEEDING_MAX))

    def notice(self, key: keys.ModelKey, *, version: str = "", intent: Hashable = None) -> None:
        """A watch or a list named this model: it needs a pass, and is remembered until one finds it gone.

        ``intent`` is what somebody asks for (None: not known). While it stays the same, the delay after a failure does.
        A model whose last pass ended with this ``version`` needs none. Without one, only the API server can say what
        the object is now.
        """
        self._note_version(key, version)
        self._queue_one(key, version=version, intent=intent)

    def is_outdated(self, key: keys.ModelKey, version: str) -> bool:
        """Whether a newer object than this is known of: nothing may be decided or composed from the older one.

        ``resourceVersion``s of one resource may be compared as numbers since Kubernetes 1.35.
        """
        return _number_of(version) < self._newest.get(key, 0)

    def begin_read(self, key: keys.ModelKey) -> None:
        """The API server is asked for the object now: what comes is not older than anything that was noticed."""
        if self._newest.get(key) == math.inf:
            del self._newest[key]

    def note_gone(self, key: keys.ModelKey) -> None:
        """The API server has the object no more; a page that is on its way may still have it."""
        self._newest[key] = math.inf

    def _note_version(self, key: keys.ModelKey, version: str) -> None:
        number = _number_of(version) if version else math.inf
        self._newest[key] = max(self._newest.get(key, 0), number)

    def _queue_one(self, key: keys.ModelKey, *, version: str = "", intent: Hashable = None) -> None:
        self._known.add(key)
        if (
            version
            and (held := self.waits.get(key)) is not None
            and _number_of(held.version) >= _number_of(version) > 0
        ):
            self._intents.setdefault(key, intent)  # the last pass ended with this version or a newer one
            return
        if version and (intent is None or self._intents.get(key) == intent):
            self.work.add(key)  # the pass compares the versions
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
        self.note_gone(key)

    def take_listed(self, key: keys.ModelKey) -> kubernetes.Object | None:
        """The object as a full listing brought it, for the first pass after the start; once.

        None as soon as anything newer is known: a pass has read the object, or a watch has named it.
        """
        body = self._listed.pop(key, None)
        if body is None or not self.composed.is_awaited(key):
            return None
        return None if self.is_outdated(key, body["metadata"]["resourceVersion"]) else body

    @property
    def namespaces_known(self) -> frozenset[str]:
        """The namespaces of all models that are known, those that are being deleted too."""
        return frozenset(key.namespace for key in self._known)

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
        self._forget_versions_of_gone(namespace)
        try:
            async with self._seeding:
                async for page in self.reads.list_pages(paths.models(namespace)):
                    listed |= self._queue_page(page.get("items") or (), is_full=is_full)
                    await self.work.wait_below(SEEDED_MAX)
        except errors.FairleadError:
            self.on_listed(namespace)
            raise
        self.on_listed(namespace)
        earlier = self._rounds.get(namespace, 0)
        self._rounds[namespace] = earlier + 1
        if earlier:  # the watch has only just started after the first listing
            self.watched.compare(namespace, listed)
        own = {key for key in self._known if namespace in (None, key.namespace)}
        for key in sorted(own - set(listed)):
            self.notice(key)
        self.composed.note_listed(namespace)
        served = sorted({key.namespace for key in own | set(listed)} | set(configured))
        await self._wait_for_first_answers(served)
        failed = [name for name in served if not self._notice_leftovers(name)]
        self.metrics.resync_s.set(self.clock.monotonic_s() - started_s)
        if failed:
            raise errors.Unreachable(f"the routes of {', '.join(failed)} can't be read")

    async def _wait_for_first_answers(self, namespaces: Iterable[str]) -> None:
        """Right after the start nothing was read yet; a source that hangs is waited for only so long."""
        for _ in range(int(FIRST_ANSWERS_S / FIRST_ANSWERS_POLL_S)):
            if not any(self.namespaces(name).is_pending() for name in namespaces):
                return
            await asyncio.sleep(FIRST_ANSWERS_POLL_S)

    def _queue_page(self, bodies: Iterable[kubernetes.Object], *, is_full: bool) -> dict[keys.ModelKey, str]:
        listed: dict[keys.ModelKey, str] = {}
        for body in bodies:
            metadata = body["metadata"]
            key = keys.ModelKey(metadata["namespace"], metadata["name"])
            listed[key] = metadata["resourceVersion"]
            self.composed.expect(key)
            if self.composed.is_awaited(key):
                self._listed[key] = body
            self._note_version(key, listed[key])
            self._queue_one(key, version="" if is_full else listed[key])
        return listed

    def _forget_versions_of_gone(self, namespace: str | None) -> None:
        """A listing that begins now can't bring them any more."""
        for key in [key for key in self._newest if namespace in (None, key.namespace) and key not in self._known]:
            del self._newest[key]

    def note_listings(self, namespaces: Iterable[str]) -> None:
        """Ray clusters, gateways or serving classes came, went or changed: models may have a place now."""
        for namespace in namespaces:
            for name in self.namespaces(namespace).clusters:
                self.waits.touch(keys.RayKey(namespace, name))
            self.waits.on_answer(namespace)

    def _notice_leftovers(self, namespace: str) -> bool:
        """Ray clusters, and models forced away while no operator ran: what is left of those is a route."""
        view = self.namespaces(namespace)
        for name in view.clusters:
            self.waits.touch(keys.RayKey(namespace, name))
        routes = view.routes()
        for model in {*(routes or ()), *_routed_at(view.gateways())}:
            key = keys.ModelKey(namespace, model)
            if key not in self._known:
                self.notice(key)
        return routes is not None


def _number_of(version: str) -> float:
    """One that is no number counts as older than all others: the object is read again."""
    return int(version) if version.isdecimal() else 0.0


def _routed_at(gateways: gateway.GatewaysEvidence) -> set[str]:
    """The models for which a gateway that could be read has a route that isn't retired."""
    members = gateways.value.members if isinstance(gateways, knowledge.Known) else ()
    views = [member.view.value for member in members if isinstance(member.view, knowledge.Known)]
    return {model for view in views for model, live in view.routes.items() if not live.is_retired}


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
