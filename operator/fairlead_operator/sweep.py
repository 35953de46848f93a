"""What keeps the queue honest without watches: a full listing, and a look at what settled models rest on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable

from fairlead_operator import health, queue, telemetry
from fairlead_operator.clients import errors, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import cluster, fingerprint, gateway
from fairlead_operator.state import keys, knowledge

JITTER_RATIO = 0.1
RETRY_S = 5.0
UNKNOWN_LOOKS = 2
"""So many looks in a row have to fail before settled models are told."""

log = logging.getLogger(__name__)


class Sweep:
    """Knows every key that ever was seen, and for each settled one what its last pass saw."""

    def __init__(
        self,
        work: queue.KeyedQueue[keys.Key],
        reads: cluster.KubernetesReads,
        namespaces: Callable[[str], cluster.NamespaceView],
        *,
        watched: health.WatchLedger,
        metrics: telemetry.Metrics,
        clock: Clock,
    ) -> None:
        self._queue = work
        self._reads = reads
        self._namespaces = namespaces
        self._watched = watched
        self._metrics = metrics
        self._clock = clock
        self._known: set[keys.ModelKey] = set()
        self._settled: dict[keys.Key, Hashable] = {}
        self._unknown_looks: dict[str, int] = {}
        self._intents: dict[keys.ModelKey, Hashable] = {}

    def notice(self, key: keys.ModelKey, intent: Hashable = None) -> None:
        """A watch or a list named this model: it needs a pass, and is remembered until one finds it gone.

        ``intent`` is what somebody asks for (None: not known). While it stays the same, the delay after a failure does.
        """
        self._known.add(key)
        if intent is None or self._intents.get(key) == intent:
            self._queue.add(key)
            return
        self._intents[key] = intent
        self._queue.add_now(key)
        for ray in self._namespaces(key.namespace).clusters:
            self._queue.forgive(keys.RayKey(key.namespace, ray))

    def settle(self, key: keys.Key, seen: Hashable) -> None:
        """The last pass found nothing to do, having seen this."""
        self._settled[key] = seen

    def unsettle(self, key: keys.Key) -> None:
        """The key has a date of its own in the queue."""
        self._settled.pop(key, None)

    def forget(self, key: keys.ModelKey) -> None:
        """The object is gone and nothing of it is left."""
        self._known.discard(key)
        self._settled.pop(key, None)
        self._intents.pop(key, None)

    async def resync(self, namespace: str | None, configured: Iterable[str] = ()) -> None:
        """Queue every model of a namespace (None: of all) that is or was there or has a route, and its Ray cluster.

        ``configured`` are namespaces with a Ray cluster: their last model may have gone while no operator ran.

        Raises:
            errors.FairleadError: Something could not be listed; what could be is queued.
        """
        started_s = self._clock.monotonic_s()
        listed: dict[keys.ModelKey, str] = {}
        bodies, _ = await self._reads.list_all(paths.models(namespace))
        for body in bodies:
            metadata = body["metadata"]
            listed[keys.ModelKey(metadata["namespace"], metadata["name"])] = metadata["resourceVersion"]
        self._watched.compare(namespace, listed)
        own = {key for key in self._known if namespace in (None, key.namespace)}
        for key in sorted(own | set(listed)):
            self.notice(key)
        served = sorted({key.namespace for key in own | set(listed)} | set(configured))
        for name in served:
            for ray in self._namespaces(name).clusters:
                self._queue.add(keys.RayKey(name, ray))
        failed = [error for name in served if (error := await self._notice_routes(name)) is not None]
        self._metrics.resync_s.set(self._clock.monotonic_s() - started_s)
        if failed:
            raise failed[0]

    async def _notice_routes(self, namespace: str) -> errors.FairleadError | None:
        """A model forced away while no operator ran is known by its route alone."""
        try:
            routes = await self._namespaces(namespace).routes(1.0)
        except errors.FairleadError as error:
            return error
        for model in routes:
            self.notice(keys.ModelKey(namespace, model))
        return None

    async def look(self) -> None:
        """Queue every settled key under which the world has changed."""
        for namespace in sorted({key.namespace for key in self._settled}):
            await self._look_at(namespace)

    async def _look_at(self, namespace: str) -> None:
        view = self._namespaces(namespace)
        for name, evidence in (await view.ray_evidence(1.0)).items():
            ray_key = keys.RayKey(namespace, name)
            if self._settled.get(ray_key, None) not in (None, fingerprint.of_ray(evidence)):
                self._queue.add(ray_key)
        try:
            routes = await view.routes(1.0)
        except errors.FairleadError:
            return  # nothing is known of the routes: the API server's return is noticed by the resync and the watch
        serve_views, gateways = await view.serve_views(1.0), await view.gateways.evidence(1.0)
        if self._is_a_blink(namespace, *serve_views.values(), *_answers(gateways)):
            return
        world = fingerprint.World(namespace, serve_views, routes, gateways)
        for key, seen in tuple(self._settled.items()):
            if isinstance(key, keys.ModelKey) and key.namespace == namespace and seen != world.of(key.name):
                self._queue.add(key)

    def _is_a_blink(self, namespace: str, *evidence: object) -> bool:
        """One failed read of what a thousand models share must not write a thousand statuses."""
        is_unknown = any(isinstance(one, knowledge.Unknown) for one in evidence)
        self._unknown_looks[namespace] = self._unknown_looks.get(namespace, 0) + 1 if is_unknown else 0
        return 0 < self._unknown_looks[namespace] < UNKNOWN_LOOKS


def _answers(gateways: gateway.GatewaysEvidence) -> tuple[object, ...]:
    if not isinstance(gateways, knowledge.Known):
        return (gateways,)
    return tuple(member.view for member in gateways.value.members)


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
