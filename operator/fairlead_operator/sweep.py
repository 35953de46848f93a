"""What keeps the queue honest without watches: a full listing, and a look at what settled models rest on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

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

    def notice(self, key: keys.ModelKey) -> None:
        """A watch or a list named this model: it needs a pass, and is remembered until one finds it gone."""
        self._known.add(key)
        self._queue.add(key)

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

    async def resync(self, namespaces: Sequence[str], configured: Iterable[str] = ()) -> None:
        """Queue every model that is or was there or has a route, and every Ray cluster. No namespaces: all.

        ``configured`` are namespaces with a Ray cluster: their last model may have gone while no operator ran.
        """
        started_s = self._clock.monotonic_s()
        listed: dict[keys.ModelKey, str] = {}
        for namespace in namespaces or (None,):
            bodies, _ = await self._reads.list_all(paths.models(namespace))
            for body in bodies:
                metadata = body["metadata"]
                listed[keys.ModelKey(metadata["namespace"], metadata["name"])] = metadata["resourceVersion"]
        self._watched.compare(listed)
        for key in sorted(self._known | set(listed)):
            self.notice(key)
        served = sorted({key.namespace for key in self._known} | set(namespaces) | set(configured))
        for namespace in served:
            for name in self._namespaces(namespace).clusters:
                self._queue.add(keys.RayKey(namespace, name))
        for namespace in served:
            await self._notice_routes(namespace)
        self._metrics.resync_s.set(self._clock.monotonic_s() - started_s)

    async def _notice_routes(self, namespace: str) -> None:
        """A model forced away while no operator ran is told of by its route alone."""
        for model in await self._namespaces(namespace).routes(1.0):
            self.notice(keys.ModelKey(namespace, model))

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
    """Run a step for ever; one that fails is told and tried again soon. This is an outermost loop."""
    while True:
        delay_s = every_s * (1 + rng.uniform(-JITTER_RATIO, JITTER_RATIO))
        try:
            await step()
        except errors.FairleadError as error:
            log.warning("%s failed", what, extra={"error": str(error)})
            delay_s = min(delay_s, RETRY_S)
        except Exception:
            log.exception("%s failed unexpectedly", what)
        await asyncio.sleep(delay_s)
