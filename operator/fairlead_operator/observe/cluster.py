"""Everything shared by the models of one namespace: Ray clusters, gateways, its route table, its port ranges."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import gateway, ray_clusters, shared
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import capacity, knowledge, observed, ports, route, serve

PORTS_MAX_AGE_S = 10.0
GIVEN_MAX_AGE_S = 90.0
"""A creation whose answer was lost happens within the API server's own limit of a minute, and is listed then; or never.
"""


class KubernetesReads(Protocol):
    async def get(self, path: str) -> kubernetes.Object: ...

    async def list_all(
        self, path: str, *, label_selector: str | None = None
    ) -> tuple[list[kubernetes.Object], str]: ...


class PortLedger:
    """The port ranges of a namespace's revisions: listed now and then, and each that this process gave out since.

    A thousand new models must not list a thousand revisions each. It is safe because the Lease's holder alone gives out
    ranges, one at a time under ``lock``, and starts with a list.
    """

    def __init__(self, reads: KubernetesReads, namespace: str, *, clock: Clock) -> None:
        self.lock = asyncio.Lock()
        self._given: dict[str, tuple[ports.PortRange, float]] = {}
        self._clock = clock
        self._reads = reads
        self._namespace = namespace
        self._listed = shared.SharedRead(self._list, clock=clock)

    async def taken(self, model: str | None = None) -> Mapping[str, ports.PortRange]:
        """Ranges by ControllerRevision name; for a model, those that it can't have.

        What was given to the model and is not listed was perhaps never made: its next try may have it again.
        """
        listed = await self._listed.get(PORTS_MAX_AGE_S)
        oldest_s = self._clock.monotonic_s() - GIVEN_MAX_AGE_S
        self._given = {name: given for name, given in self._given.items() if given[1] >= oldest_s}
        others = {name: given for name, (given, _) in self._given.items() if name.rpartition("-")[0] != model}
        return {**listed, **others}

    def give(self, name: str, given: ports.PortRange) -> None:
        self._given[name] = (given, self._clock.monotonic_s())

    def take_back(self, name: str) -> None:
        """It was certainly not made."""
        self._given.pop(name, None)

    def invalidate(self) -> None:
        self._listed.invalidate()

    async def _list(self) -> Mapping[str, ports.PortRange]:
        items, _ = await self._reads.list_all(paths.revisions(self._namespace), label_selector=names.LABEL_REVISION)
        listed = {view.name: view.ports for view in objects.view_revisions(items)}
        for name in listed:
            self._given.pop(name, None)  # one whose creation is still on its way stays given
        return listed


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
        self.ports = PortLedger(reads, namespace, clock=clock)
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

    async def route_of(
        self, model: str, max_age_s: float
    ) -> knowledge.Known[route.RouteText] | knowledge.Absent | knowledge.Unknown:
        try:
            text = (await self.routes(max_age_s)).get(model)
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))
        return knowledge.ABSENT if text is None else knowledge.Known(route.RouteText(text=text))

    async def routes(self, max_age_s: float) -> Mapping[str, str]:
        return await self._routes.get(max_age_s)

    def invalidate_routes(self) -> None:
        self._routes.invalidate()

    async def _read_routes(self) -> Mapping[str, str]:
        try:
            body = await self._reads.get(paths.routes(self.namespace))
        except errors.NotFound:
            return {}
        data: Mapping[str, str] = body.get("data") or {}
        return data

    async def taken_ports(self, model: str) -> tuple[ports.PortRange, ...]:
        return tuple((await self.ports.taken(model)).values())

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
