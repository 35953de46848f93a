"""One pass's snapshot of the world, stamped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from fairlead_operator.api import names
from fairlead_operator.api.monitoring import DriftWatch
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.clients import errors, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import cluster
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import analysis, directory, drift, infrastructure, keys, knowledge, observed, question

CAPACITY_MAX_AGE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """``evidence`` is what of it an idle model rests on, ``hot_evidence`` one that waits for something on its way."""

    seen: observed.Observed
    evidence: bytes
    hot_evidence: bytes


class Measurements(Protocol):
    async def read(self, key: keys.ModelKey, asked: question.Question) -> analysis.Measured: ...


class Drifts(Protocol):
    def find(self, key: keys.ModelKey) -> knowledge.Known[drift.ByRevision] | knowledge.Unknown | None: ...

    def forget(self, key: keys.ModelKey) -> None: ...


def no_problem(_key: keys.ModelKey) -> None:
    """Ray clusters and gateways are given."""
    return None


class Observer:
    """The reads of a pass: the object itself by a quorum GET, everything that is shared as it was read last."""

    def __init__(
        self,
        reads: cluster.KubernetesReads,
        namespaces: Callable[[str], cluster.NamespaceView],
        *,
        clock: Clock,
        measurements: Measurements | None = None,
        drifts: Drifts | None = None,
        find_problem: Callable[[keys.ModelKey], infrastructure.Problem | None] | None = None,
    ) -> None:
        """Without ``measurements`` an analysis that is under way finds none, and without ``drifts`` no drift is known.

        ``find_problem`` says why a model can't get what it needs in its namespace; None where that is given by flags.
        """
        self._find_problem = find_problem or no_problem
        self._is_placed_by_class = find_problem is not None
        self._measurements = measurements
        self._drifts = drifts
        self._reads = reads
        self._namespaces = namespaces
        self._clock = clock

    async def fetch(self, key: keys.ModelKey) -> observed.ModelDeploymentView | None:
        """The object as the quorum has it; None where it is gone.

        Raises:
            errors.FairleadError: It could not be read, so nothing can be decided.
        """
        try:
            return objects.view_model(await self._reads.get(paths.models(key.namespace, key.name)))
        except errors.NotFound:
            return None

    def look(self, key: keys.ModelKey, view: observed.ModelDeploymentView | None) -> Look:
        """The world around an object, from memory: no measurement, no capacity.

        Raises:
            errors.FairleadError: Its revisions could not be read, so nothing can be decided.
        """
        namespace = self._namespaces(key.namespace)
        revisions = _revisions_of(namespace, view) if view is not None else ()
        placed = namespace.place(_class_of(view))
        seen = observed.Observed(
            key=key,
            observed_at=self._clock.now(),
            object=knowledge.Known(view) if view is not None else knowledge.ABSENT,
            revisions=revisions,
            serve=namespace.serve_views(key.name),
            placement=placed.cluster if isinstance(placed, directory.Placement) else recorded_cluster(view, revisions),
            unplaced=placed if isinstance(placed, directory.Unplaced) else None,
            awaited=placed.awaited if isinstance(placed, directory.Placement) else None,
            limits=placed.limits if isinstance(placed, directory.Placement) else None,
            workers=namespace.workers,
            route=namespace.route_of(key.name),
            gateways=namespace.gateways(),
            gateway_url=namespace.gateway_url,
            ray_write=namespace.writes(),
            route_writes=namespace.route_writes,
            problem=self._find_problem(key),
            is_placed_by_class=self._is_placed_by_class,
            drift=self._drift_of(key, view),
        )
        world = namespace.world()
        return Look(
            seen=seen, evidence=world.hash_model(key.name), hot_evidence=world.hash_model(key.name, is_hot=True)
        )

    def _drift_of(
        self, key: keys.ModelKey, view: observed.ModelDeploymentView | None
    ) -> knowledge.Known[drift.ByRevision] | knowledge.Unknown | None:
        if self._drifts is None:
            return None
        spec = view.spec if view is not None else None
        if isinstance(spec, ModelDeploymentSpec) and spec.monitoring.drift is DriftWatch.CONDITION:
            return self._drifts.find(key)
        self._drifts.forget(key)
        return None

    async def measure(self, look: Look) -> Look:
        """The same look with the measurement that is due, if one is."""
        seen = look.seen
        view = seen.object.value if isinstance(seen.object, knowledge.Known) else None
        asked = (
            question.find_question(view, seen.observed_at)
            if view is not None and self._measurements is not None
            else None
        )
        if asked is None or self._measurements is None:
            return look
        measured = await self._measurements.read(seen.key, asked)
        return replace(look, seen=replace(seen, measured=measured))

    async def add_capacity(self, seen: observed.Observed) -> observed.Observed:
        """The same with what is free on each cluster where a revision may start, read now.

        A rollback may go back to one that the model has left.
        """
        namespace = self._namespaces(seen.key.namespace)
        places = {seen.placement, *(each.cluster for each in seen.revisions)}
        read = [name for name in sorted(places) if isinstance(seen.serve.get(name), knowledge.Known)]
        free = await asyncio.gather(*(namespace.capacity(name, CAPACITY_MAX_AGE_S) for name in read))
        return replace(seen, capacity=dict(zip(read, free, strict=True)))


def _class_of(view: observed.ModelDeploymentView | None) -> str | None:
    """The serving class that the model names."""
    spec = view.spec if view is not None else None
    return spec.cluster.class_name if isinstance(spec, ModelDeploymentSpec) else None


def recorded_cluster(view: observed.ModelDeploymentView | None, revisions: tuple[observed.RevisionView, ...]) -> str:
    """The cluster of what serves: while no other is known, the model has no reason to move."""
    stable = view.status.stable_revision if view is not None else None
    return next((each.cluster for each in revisions if each.revision == stable), names.DEFAULT_CLUSTER)


def _revisions_of(
    namespace: cluster.NamespaceView, view: observed.ModelDeploymentView
) -> tuple[observed.RevisionView, ...]:
    """A deletion needs none of them: its rights to read them may have gone with the namespace's RoleBinding."""
    try:
        return namespace.revisions_of(view.uid)
    except errors.Forbidden:
        if not view.is_deleting:
            raise
        return ()
