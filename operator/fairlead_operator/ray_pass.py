"""The pass over one Ray cluster: what should run there is composed, compared with what does, and put.

The only writer of a cluster's Serve config, as each PUT replaces all of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fairlead_operator import composition, telemetry, waiting
from fairlead_operator.api import names
from fairlead_operator.clients import errors
from fairlead_operator.desired import serve_config
from fairlead_operator.observe import cluster, ray_clusters, source
from fairlead_operator.plan import serve_config as serve_plan
from fairlead_operator.state import bounds, keys, knowledge, serve

AFTER_PUT_S = 0.02
PUT_OFF_S = 1.0
EVIDENCE_MAX_S = 1.0
"""A PUT replaces everything, so what it is compared with was read at most so long before."""
ASKED_EVIDENCE_MAX_S = 15.0
"""What was asked for because of the PUT may be older: a busy Ray takes seconds to answer, at most ten."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPass:
    """Compose, compare with what was read a moment ago, PUT."""

    namespaces: Callable[[str], cluster.NamespaceView]
    clusters: ray_clusters.RayClusters
    composed: composition.Composition
    waits: waiting.Waiting
    bounds: bounds.Bounds
    metrics: telemetry.Metrics
    confirming: set[keys.RayKey] = field(default_factory=set)
    """Clusters that were asked once more because a PUT is due: what somebody else put meanwhile must be in it."""
    shown: set[keys.RayKey] = field(default_factory=set)
    """Clusters that have a series of their last PUT."""

    async def run(self, key: keys.RayKey) -> float | None:
        """When the cluster is due again; None where it waits for evidence, or where there is none."""
        ray = self.clusters.find(key)
        if ray is None:
            return None
        if (pause_s := ray.poller.put_pause_s()) > 0:
            return pause_s
        evidence = ray.poller.latest()
        if isinstance(evidence, source.Pending) or not self.composed.is_complete(key.namespace):
            self.waits.park(key)
            return None
        is_unknown = isinstance(evidence, knowledge.Unknown)
        longest_s = ASKED_EVIDENCE_MAX_S if key in self.confirming else EVIDENCE_MAX_S
        if ray.poller.age_s() > longest_s and not is_unknown:
            self._ask_again(key, ray)
            return None
        wanted = self._wanted(key, evidence)
        seen = serve.RayObserved(namespace=key.namespace, evidence=evidence)
        decision = serve_plan.decide(wanted, seen, self.bounds)
        if isinstance(decision, serve.Put) and key not in self.confirming:
            self._ask_again(key, ray)
            return None
        if not is_unknown:
            # Else the answer that was asked for is still on its way.
            self.confirming.discard(key)
        match decision:
            case serve.Put() as put:
                return await self._put(key, ray, put)
            case serve.Hold() as hold:
                log.info(str(hold), extra={"key": str(key)})
                ray.poller.report(serve.RayWriteKind.HELD, hold.reason)
                return hold.requeue_after_s
            case serve.Keep() as keep:
                log.debug(str(keep), extra={"key": str(key)})
                ray.poller.report(serve.RayWriteKind.KEPT)
                world = self.namespaces(key.namespace).world()
                self.waits.hold(key, waiting.Held(evidence=world.hash_ray(key.cluster)))
                return None

    def _ask_again(self, key: keys.RayKey, ray: ray_clusters.Connection) -> None:
        """The pass is made again with an answer to a request that begins now."""
        self.confirming.add(key)
        ray.poller.refresh()
        self.waits.park(key)

    def _wanted(self, key: keys.RayKey, evidence: serve.RayEvidence) -> serve.ServeConfig:
        namespace = key.namespace
        parts, unknown = self.composed.parts_on(key)
        is_placement = key.cluster in self.namespaces(namespace).placements
        may_get_models = self.composed.has_models(namespace) and is_placement
        wanted = serve_config.joined(key, parts, may_get_models=may_get_models)
        if not unknown:
            return wanted
        # Everything that runs for a model that can't be read stays: what should be there is not known.
        if not isinstance(evidence, knowledge.Known):
            return replace(wanted, kept=(*wanted.kept, *(f"{namespace}--{model}--*" for model in sorted(unknown))))
        running = (
            name
            for name in evidence.value.applications
            if any(names.is_application_of(name, namespace, model) for model in unknown)
        )
        return replace(wanted, kept=tuple(sorted({*wanted.kept, *running})))

    def _show_put(self, key: keys.RayKey) -> None:
        """Clusters that are gone lose their series: each change of a class makes another cluster."""
        self.metrics.ray_put_at.labels(key.namespace, key.cluster).set_to_current_time()
        self.shown.add(key)
        for gone in [each for each in self.shown if self.clusters.find(each) is None]:
            self.shown.discard(gone)
            self.metrics.ray_put_at.remove(gone.namespace, gone.cluster)

    async def _put(self, key: keys.RayKey, ray: ray_clusters.Connection, put: serve.Put) -> float:
        ended, began_s, was_sent = "failed", time.perf_counter(), True
        try:
            await ray.client.put_applications(put.body)
            ended = "done"
            ray.poller.report(serve.RayWriteKind.PUT)
            self._show_put(key)
        except errors.RetryLater as error:
            # The Lease has too little time left: Ray was asked nothing, so it refused nothing.
            ended, was_sent = "put off", False
            return error.retry_after_s or PUT_OFF_S
        except errors.FairleadError as error:
            ray.poller.report(serve.RayWriteKind.REFUSED, error.cause)
            raise
        finally:
            if was_sent:
                ray.poller.invalidate(put_s=time.perf_counter() - began_s)
            self.metrics.actions.labels("PutServeConfig", ended).inc()
            log.info(str(put), extra={"key": str(key), "action": "PutServeConfig", "outcome": ended})
        return AFTER_PUT_S
