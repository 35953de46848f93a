"""The pass over one Ray cluster: what should run there is composed, compared with what does, and put.

The only writer of a cluster's Serve config, as each PUT replaces all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairlead_operator import sweep, telemetry
from fairlead_operator.api import names
from fairlead_operator.desired import serve_config
from fairlead_operator.observe import cluster, fingerprint, ray_clusters, snapshot
from fairlead_operator.plan import serve_config as serve_plan
from fairlead_operator.state import bounds, keys, knowledge, serve

AFTER_PUT_S = 0.02

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPass:
    """LIST, compose, GET, compare, PUT."""

    observer: snapshot.Observer
    namespaces: Callable[[str], cluster.NamespaceView]
    clusters: ray_clusters.RayClusters
    sweep: sweep.Sweep
    bounds: bounds.Bounds
    metrics: telemetry.Metrics

    async def run(self, key: keys.RayKey) -> float | None:
        """When the cluster is due again; None where the sweep watches over it, or where there is none."""
        ray = self.clusters.find(key)
        if ray is None:
            return None
        found = await self.observer.list_models(key.namespace)
        evidence = await ray.poller.evidence(0.0)
        seen = serve.RayObserved(namespace=key.namespace, evidence=evidence)
        match serve_plan.decide(self._wanted(key, found, evidence), seen, self.bounds):
            case serve.Put() as put:
                return await self._put(key, ray, put)
            case serve.Hold() as hold:
                log.info(str(hold), extra={"key": str(key)})
                return hold.requeue_after_s
            case serve.Keep() as keep:
                log.debug(str(keep), extra={"key": str(key)})
                self.sweep.settle(key, fingerprint.of_ray(evidence))
                return None

    def _wanted(
        self, key: keys.RayKey, found: snapshot.NamespaceModels, evidence: serve.RayEvidence
    ) -> serve.ServeConfig:
        namespace = key.namespace
        parts: list[serve.ServeConfig] = []
        unknown = list(found.unreadable)
        for view in found.models:
            kept = serve_config.KeptModel(view=view, revisions=found.revisions.get(view.uid, ()))
            try:
                parts.append(serve_config.of_model(key, kept))
            except Exception:
                # The body of an outermost loop: one model that can't be composed must not hold up the others' replicas.
                self.metrics.actions.labels("ComposeServeConfig", "error").inc()
                log.exception("a model is left as it runs", extra={"key": f"{namespace}/{view.name}"})
                unknown.append(view.name)
        may_get_models = bool(found.models) and self.namespaces(namespace).placement == key.cluster
        wanted = serve_config.joined(key, parts, may_get_models=may_get_models)
        if not (unknown and isinstance(evidence, knowledge.Known)):
            return wanted
        # Everything that runs for a model that can't be read stays: what should be there is not known.
        running = (
            name
            for name in evidence.value.applications
            if any(names.is_application_of(name, namespace, model) for model in unknown)
        )
        return replace(wanted, kept=tuple(sorted({*wanted.kept, *running})))

    async def _put(self, key: keys.RayKey, ray: ray_clusters.Connection, put: serve.Put) -> float:
        ended = "failed"
        try:
            await ray.client.put_applications(put.body)
            ended = "done"
        finally:
            ray.poller.invalidate()
            self.metrics.actions.labels("PutServeConfig", ended).inc()
            log.info(str(put), extra={"key": str(key), "action": "PutServeConfig", "outcome": ended})
        return AFTER_PUT_S
