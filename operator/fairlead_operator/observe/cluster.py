"""Everything shared by the models of one namespace: its Ray clusters, its gateways, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.observe import fingerprint, gateway, ray_clusters, readers, reflector, source
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import capacity, directory, keys, knowledge, observed, route, serve, workers

REFUSED_FOR_S = 60.0
"""After this time a write that the API server forbade is tried again."""
LISTED_INTERVAL_S = 0.1
"""Once a replica is listed on its node, Ray calls it running within one or two turns of its own loop."""


class KubernetesReads(reflector.WatchApi, Protocol):
    async def get(self, path: str) -> kubernetes.Object: ...

    def list_pages(self, path: str) -> AsyncIterator[kubernetes.Object]: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """A ControllerRevision of ours; ``view`` is a sentence where it can't be read."""

    owner_uid: str | None
    model: str
    view: observed.RevisionView | str


class NamespaceView:
    """What the models of one namespace share, as it was read last. Nothing here waits for the network.

    What this process wrote is in it at once, or nothing is known (``is_pending``) until an answer has it.
    """

    def __init__(
        self,
        namespace: str,
        *,
        api: KubernetesReads,
        ray: ray_clusters.RayClusters,
        gateways: gateway.GatewaysPoller,
        readers: readers.Readers,
        gateway_url: str | None = None,
    ) -> None:
        """``gateway_url`` is the address at which people reach the gateways, as it was configured."""
        self.namespace = namespace
        self.gateway_url = gateway_url
        self._ray = ray
        self._gateways = gateways
        gateways.on_replicas = self._hurry_ray
        self._readers = readers
        self._owned: dict[str, dict[str, observed.RevisionView | str]] = {}
        self._owner_of: dict[str, _Kept] = {}
        self._revisions = reflector.Reflector(
            api,
            reflector.Collection(
                path=paths.revisions(namespace), selector=kubernetes.Selector(labels=names.LABEL_REVISION)
            ),
            _keep,
            clock=readers.clock,
            on_change=self._note_revision,
        )
        self._routes = reflector.Reflector(
            api,
            reflector.Collection(path=paths.model_routes(namespace)),
            _route_text,
            clock=readers.clock,
            on_change=self._note_route,
        )
        self._parts: dict[str, fingerprint.ServeParts] = {}
        self._gateway_parts: dict[str, fingerprint.GatewayParts] = {}
        self._clock = readers.clock
        self._forbidden: tuple[float, observed.RouteWrites] | None = None
        self._reading = [readers.start(self._revisions.run()), readers.start(self._routes.run())]

    def stop(self) -> None:
        """End what reads for it in the background."""
        for reading in self._reading:
            reading.cancel()
        self._gateways.stop()

    @property
    def clusters(self) -> tuple[str, ...]:
        """The names of its Ray clusters."""
        return tuple(cluster.name for cluster in self._ray.listed.clusters(self.namespace))

    @property
    def workers(self) -> Mapping[str, workers.WorkerPods]:
        """The worker pods by Ray cluster. A cluster whose pods are not known is left out."""
        listed = self._ray.listed.clusters(self.namespace)
        return {cluster.name: cluster.workers for cluster in listed if cluster.workers is not None}

    def place(self, class_name: str | None) -> directory.Placement | directory.Unplaced:
        """Where a new revision goes of a model that names this serving class, or none."""
        return self._ray.listed.place(self.namespace, class_name)

    @property
    def placements(self) -> frozenset[str]:
        """The clusters where new revisions may go."""
        return self._ray.listed.placements(self.namespace)

    def is_pending(self) -> bool:
        """Whether an answer is on its way without which nothing can be said."""
        if any(not one.is_listed and one.error is None for one in (self._revisions, self._routes)):
            return True
        if self._ray.listed.is_pending(self.namespace):
            return True
        if isinstance(self._gateways.latest(), source.Pending):
            return True
        return any(isinstance(p.last(), source.Pending) for p in self._ray.pollers(self.namespace).values())

    def hurry(self) -> None:
        """A key begins to wait here: read more often."""
        self._gateways.hurry()
        for poller in self._ray.pollers(self.namespace).values():
            poller.hurry()

    def _hurry_ray(self) -> None:
        """A replica came or went: Ray's controller learns of it within moments."""
        for poller in self._ray.pollers(self.namespace).values():
            poller.hurry(LISTED_INTERVAL_S)

    def serve_views(self, model: str) -> Mapping[str, knowledge.Known[serve.ServeView] | knowledge.Unknown]:
        """Each Ray cluster as a model's pass may believe it, with the model's own applications alone."""
        owner = f"{self.namespace}--{model}"
        starting = {each.name: each.starting for each in self._ray.listed.clusters(self.namespace)}
        views: dict[str, knowledge.Known[serve.ServeView] | knowledge.Unknown] = {}
        for cluster, part in self._serve_parts().items():
            views[cluster] = view = part.view_of(owner)
            if isinstance(view, knowledge.Unknown) and (why := starting.get(cluster)) is not None:
                views[cluster] = knowledge.Unknown(why)
        return views

    def writes(self) -> Mapping[str, serve.RayWrite]:
        """What became of the last write of each Ray cluster's Serve config."""
        pollers = self._ray.pollers(self.namespace)
        return {name: poller.last_write for name, poller in pollers.items() if poller.last_write is not None}

    async def capacity(self, cluster: str, max_age_s: float) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        """What is free on a cluster: read now, with a short deadline of its own."""
        poller = self._ray.pollers(self.namespace).get(cluster)
        return await poller.free(max_age_s) if poller is not None else knowledge.Unknown("there is no Ray cluster")

    def gateways(self) -> gateway.GatewaysEvidence:
        latest = self._gateways.latest()
        return knowledge.Unknown("the gateways were not read yet") if isinstance(latest, source.Pending) else latest

    def route_of(self, model: str) -> knowledge.Known[route.RouteText] | knowledge.Absent | knowledge.Unknown:
        routes = self.routes()
        if routes is None:
            return knowledge.Unknown(
                errors.cause_of(self._routes.error) if self._routes.error else "the routes were not read yet"
            )
        text = routes.get(model)
        return knowledge.ABSENT if text is None else knowledge.Known(route.RouteText(text=text))

    def routes(self) -> Mapping[str, str] | None:
        """The text of each model's route; None while it can't be known. It changes as routes do."""
        if not self._routes.is_listed or self._routes.error is not None:
            return None
        return self._routes.values

    def world(self) -> fingerprint.World:
        """Everything above as a waiting key compares it."""
        return fingerprint.World(
            self.namespace,
            self._serve_parts(),
            self.routes(),
            self._members(),
            self.writes(),
            placing=self._ray.listed.state(self.namespace),
        )

    def revisions_of(self, uid: str) -> tuple[observed.RevisionView, ...]:
        """The object's own ControllerRevisions, by owner uid: an earlier object of the same name left none of them.

        Raises:
            errors.FairleadError: They could not be listed, or one of them can't be read.
        """
        if (error := self._revisions.error) is not None:
            raise error
        own = self._owned.get(uid, {}).values()
        for view in own:
            if isinstance(view, str):
                raise errors.Refused(view)
        return tuple(sorted((v for v in own if not isinstance(v, str)), key=lambda view: view.number))

    def used_clusters(self, placed: Collection[str]) -> knowledge.Known[frozenset[str]] | knowledge.Unknown:
        """The Ray clusters that the ControllerRevisions of all models record.

        ``placed`` are the ControllerRevisions that models name: where one is lost, nobody knows where it runs.
        """
        if (error := self._revisions.error) is not None:
            return knowledge.Unknown(errors.cause_of(error))
        if not self._revisions.is_listed:
            return knowledge.Unknown("the revisions were not read yet")
        if lost := sorted(name for name in placed if name not in self._owner_of):
            return knowledge.Unknown(f"ControllerRevision {lost[0]} is lost")
        views = [kept.view for kept in self._owner_of.values()]
        unread = next((view for view in views if isinstance(view, str)), None)
        if unread is not None:
            return knowledge.Unknown(unread)
        return knowledge.Known(frozenset(view.cluster for view in views if not isinstance(view, str)))

    def wrote_route(self, body: Mapping[str, Any]) -> None:
        self._forbidden = None
        self._routes.wrote(body)

    def removed_route(self, name: str, uid: str) -> None:
        self._routes.removed(name, uid)

    @property
    def route_writes(self) -> observed.RouteWrites:
        if self._forbidden is None or self._clock.monotonic_s() - self._forbidden[0] > REFUSED_FOR_S:
            return observed.RouteWrites.POSSIBLE
        return self._forbidden[1]

    def note_route_writes(self, writes: observed.RouteWrites) -> None:
        """The API server has just forbidden one."""
        self._forbidden = (self._clock.monotonic_s(), writes)

    def wrote_revision(self, body: Mapping[str, Any]) -> None:
        self._revisions.wrote(body)

    def removed_revision(self, name: str, uid: str) -> None:
        self._revisions.removed(name, uid)

    def _serve_parts(self) -> Mapping[str, fingerprint.ServeParts]:
        found: dict[str, fingerprint.ServeParts] = {}
        for cluster, poller in self._ray.pollers(self.namespace).items():
            latest = poller.last()
            evidence = knowledge.Unknown("Ray was not read yet") if isinstance(latest, source.Pending) else latest
            before = self._parts.get(cluster)
            is_known = before is not None and before.evidence is evidence
            found[cluster] = before if before is not None and is_known else fingerprint.ServeParts(evidence, before)
        self._parts = found
        return found

    def _members(self) -> fingerprint.Members:
        found = self.gateways()
        if not isinstance(found, knowledge.Known):
            return type(found).__name__
        before, parts = self._gateway_parts, {}
        for member in found.value.members:
            known = before.get(member.name)
            is_known = known is not None and known.view is member.view
            parts[member.name] = (
                known if known is not None and is_known else fingerprint.GatewayParts(member.view, known)
            )
        self._gateway_parts = parts
        return [(member, parts[member.name]) for member in found.value.members]

    def _note_route(self, name: str) -> None:
        """A route is one model's alone; a complete list may have changed what is known of all."""
        if name:
            self._readers.on_route(keys.ModelKey(self.namespace, name))
        else:
            self._readers.on_answer(self.namespace)

    def _note_revision(self, name: str) -> None:
        if not name:
            self._readers.on_answer(self.namespace)
            return
        before, now = self._owner_of.pop(name, None), self._revisions.get(name)
        if before is not None and before.owner_uid is not None:
            own = self._owned.get(before.owner_uid, {})
            own.pop(name, None)
            if not own:
                self._owned.pop(before.owner_uid, None)
        if now is not None:
            self._owner_of[name] = now
            if now.owner_uid is not None:
                self._owned.setdefault(now.owner_uid, {})[name] = now.view
        for model in {kept.model for kept in (before, now) if kept is not None}:
            self._readers.on_revision(keys.ModelKey(self.namespace, model))


def _keep(body: Mapping[str, Any]) -> _Kept:
    view: observed.RevisionView | str
    try:
        view = objects.view_revision(body)
    except errors.Refused as error:
        view = str(error)
    model = (body["metadata"].get("labels") or {}).get(names.LABEL_MODEL, "")
    return _Kept(objects.owner_uid(body), model, view)


def _route_text(body: Mapping[str, Any]) -> str:
    return route.text_of(body.get("spec") or {})
