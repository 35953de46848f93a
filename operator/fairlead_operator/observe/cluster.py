"""Everything shared by the models of one namespace: its Ray clusters, its gateways, its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import gateway, ray_clusters, shared
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import capacity, knowledge, observed, route, serve


class KubernetesReads(Protocol):
    async def get(self, path: str) -> kubernetes.Object: ...

    async def list_all(
        self, path: str, *, label_selector: str | None = None
    ) -> tuple[list[kubernetes.Object], str]: ...


class NamespaceView:
    """The shared reads of one namespace. None of its caches outlives a write of ours to what it holds."""

    def __init__(
        self,
        namespace: str,
        *,
        reads: KubernetesReads,
        ray: ray_clusters.RayClusters,
        gateways: gateway.GatewaysPoller,
        gateway_url: str | None = None,
        clock: Clock,
    ) -> None:
        """``gateway_url`` is the address at which people reach the gateways, as it was configured."""
        self.namespace = namespace
        self.gateway_url = gateway_url
        self._ray = ray
        self.gateways = gateways
        self._reads = reads
        self._routes = shared.SharedRead(self._read_routes, clock=clock)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of its Ray clusters; new revisions go to the first one."""
        return self._ray.names(self.namespace)

    @property
    def placement(self) -> str:
        """The cluster where new revisions go; a name like any other where the namespace has none."""
        return next(iter(self.clusters), names.DEFAULT_CLUSTER)

    async def serve_views(self, max_age_s: float) -> Mapping[str, knowledge.Known[serve.ServeView] | knowledge.Unknown]:
        """Each Ray cluster as a model's pass may believe it: an empty answer without a controller is UNKNOWN."""
        found = await self.ray_evidence(max_age_s)
        return {cluster: _believable(evidence) for cluster, evidence in found.items()}

    async def ray_evidence(self, max_age_s: float) -> Mapping[str, serve.RayEvidence]:
        """Each Ray cluster of the namespace, by name."""
        pollers = self._ray.pollers(self.namespace)
        evidence = await asyncio.gather(*(poller.evidence(max_age_s) for poller in pollers.values()))
        return dict(zip(pollers, evidence, strict=True))

    async def capacity(self, max_age_s: float) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        """What is free on the cluster where new revisions go."""
        poller = self._ray.pollers(self.namespace).get(self.placement)
        return await poller.free(max_age_s) if poller is not None else knowledge.Unknown("there is no Ray cluster")

    async def route_of(self, model: str) -> knowledge.Known[route.RouteText] | knowledge.Absent | knowledge.Unknown:
        """One model's ModelRoute, by a quorum read."""
        try:
            found = await self._reads.get(paths.model_routes(self.namespace, model))
        except errors.NotFound:
            return knowledge.ABSENT
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))
        return knowledge.Known(route.RouteText(text=route.text_of(found.get("spec") or {})))

    async def routes(self, max_age_s: float) -> Mapping[str, str]:
        """The text of each model's route."""
        return await self._routes.get(max_age_s)

    def invalidate_routes(self) -> None:
        self._routes.invalidate()

    async def _read_routes(self) -> Mapping[str, str]:
        items, _ = await self._reads.list_all(paths.model_routes(self.namespace))
        return {item["metadata"]["name"]: route.text_of(item.get("spec") or {}) for item in items}

    async def revisions_of(self, model: str, uid: str) -> tuple[observed.RevisionView, ...]:
        """The object's own ControllerRevisions, by owner uid: an earlier object of the same name left none of them."""
        items, _ = await self._reads.list_all(
            paths.revisions(self.namespace), label_selector=f"{names.LABEL_MODEL}={model},{names.LABEL_REVISION}"
        )
        own = [objects.view_revision(item) for item in items if objects.owner_uid(item) == uid]
        return tuple(sorted(own, key=lambda view: view.number))


def _believable(evidence: serve.RayEvidence) -> knowledge.Known[serve.ServeView] | knowledge.Unknown:
    if isinstance(evidence, serve.EmptyServe):
        return knowledge.Unknown("Ray answers without a Serve controller: nothing is known of the replicas")
    return evidence
