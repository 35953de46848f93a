"""One pass's snapshot of the world, gathered at once and stamped."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import cluster
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import analysis, keys, knowledge, observed, question

RAY_MAX_AGE_S = 0.5
ROUTES_MAX_AGE_S = 0.5
GATEWAYS_MAX_AGE_S = 0.2
CAPACITY_MAX_AGE_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceModels:
    """Every model of a namespace with its own revisions: what a Ray cluster's config is composed from."""

    models: tuple[observed.ModelDeploymentView, ...]
    revisions: Mapping[str, tuple[observed.RevisionView, ...]]
    """By the owner's uid; without those that can't be read."""
    unreadable: tuple[str, ...]
    """Models that can't be read: nothing of theirs may be changed."""


class Measurements(Protocol):
    async def read(self, key: keys.ModelKey, asked: question.Question) -> analysis.Measured: ...


class Observer:
    """The reads of a pass."""

    def __init__(
        self,
        reads: cluster.KubernetesReads,
        namespaces: Callable[[str], cluster.NamespaceView],
        *,
        clock: Clock,
        measurements: Measurements | None = None,
    ) -> None:
        """Without ``measurements`` an analysis that is under way finds none."""
        self._measurements = measurements
        self._reads = reads
        self._namespaces = namespaces
        self._clock = clock

    async def observe(self, key: keys.ModelKey) -> observed.Observed:
        """The object by a quorum GET first, then everything around it at the same time.

        Raises:
            errors.FairleadError: The object or its revisions could not be read, so nothing can be decided.
        """
        view: observed.ModelDeploymentView | None
        try:
            view = objects.view_model(await self._reads.get(paths.models(key.namespace, key.name)))
        except errors.NotFound:
            view = None
        namespace = self._namespaces(key.namespace)
        now = self._clock.now()
        may_begin = view is not None and view.status.rollout is None
        revisions, taken, serve, route, gateways, (capacity, measured) = await asyncio.gather(
            namespace.revisions_of(key.name, view.uid) if view is not None else _none(),
            namespace.taken_ports(key.name),
            namespace.serve_views(RAY_MAX_AGE_S),
            namespace.route_of(key.name, ROUTES_MAX_AGE_S),
            namespace.gateways.evidence(GATEWAYS_MAX_AGE_S),
            asyncio.gather(
                namespace.capacity(CAPACITY_MAX_AGE_S) if may_begin else _not_read(), self._measured(key, view, now)
            ),
        )
        return observed.Observed(
            key=key,
            observed_at=now,
            object=knowledge.Known(view) if view is not None else knowledge.ABSENT,
            revisions=revisions,
            taken_ports=taken,
            serve=serve,
            placement=namespace.placement,
            route=route,
            gateways=gateways,
            gateway_url=namespace.gateway_url,
            capacity=capacity,
            measured=measured,
        )

    async def _measured(
        self, key: keys.ModelKey, view: observed.ModelDeploymentView | None, now: datetime.datetime
    ) -> analysis.Measured | None:
        asked = question.of(view, now) if view is not None else None
        return await self._measurements.read(key, asked) if asked is not None and self._measurements else None

    async def list_models(self, namespace: str) -> NamespaceModels:
        """Every model and revision of a namespace; revisions last, so that a listed model's are not missed."""
        bodies, _ = await self._reads.list_all(paths.models(namespace))
        items, _ = await self._reads.list_all(paths.revisions(namespace), label_selector=names.LABEL_REVISION)
        models, unreadable = [], []
        for body in bodies:
            try:
                models.append(objects.view_model(body))
            except errors.Refused as error:
                log.warning("a model is left as it is", extra={"error": str(error)})
                unreadable.append(body["metadata"]["name"])
        revisions: dict[str, tuple[observed.RevisionView, ...]] = {}
        for uid, owned in itertools.groupby(sorted(items, key=_owner), key=_owner):
            revisions[uid] = tuple(objects.view_revisions(owned))
        return NamespaceModels(models=tuple(models), revisions=revisions, unreadable=tuple(unreadable))


def _owner(body: Mapping[str, Any]) -> str:
    return objects.owner_uid(body) or ""


async def _not_read() -> knowledge.Unknown:
    return knowledge.UNREAD


async def _none() -> tuple[observed.RevisionView, ...]:
    return ()
