"""The world as one pass of a model read it. Frozen; nothing here is inferred."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from fairlead_operator.api.spec import ModelDeploymentSpec, ModelSource, Serving
from fairlead_operator.api.status import ModelDeploymentStatus
from fairlead_operator.state.analysis import Measured
from fairlead_operator.state.capacity import Capacity
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.knowledge import UNREAD, Absent, Known, Unknown
from fairlead_operator.state.ports import PortRange
from fairlead_operator.state.route import GatewayView, RouteText
from fairlead_operator.state.serve import ServeView


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidSpec:
    """A stored spec that this version cannot read; ``message`` names the field."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeploymentView:
    """A ModelDeployment by a quorum GET."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deletion_timestamp: datetime.datetime | None
    finalizers: tuple[str, ...]
    spec: ModelDeploymentSpec | InvalidSpec
    status: ModelDeploymentStatus

    @property
    def is_deleting(self) -> bool:
        return self.deletion_timestamp is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionTemplate:
    """What makes a revision: everything a replica is started with. Scaling and rollout settings are not part of it."""

    model: ModelSource
    serving: Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A ControllerRevision. ``digest`` is the annotation's: what the first replica read, None until pinned."""

    name: str
    revision: str
    number: int
    template: RevisionTemplate
    ports: PortRange
    digest: str | None

    @property
    def content_digest(self) -> str | None:
        """The digest that replicas are held to: the manifest's, else the pinned one."""
        return self.template.model.digest or self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One snapshot.

    ``revisions`` are the object's own ControllerRevisions (by owner uid), ``taken_ports`` the ranges of all of the
    namespace. ``serve`` is Absent where no Ray cluster is configured for the namespace, ``gateways`` likewise; a
    single gateway that could not be read makes ``gateways`` Unknown. ``route`` is the model's key in the ConfigMap.
    ``gateway_url`` is the base URL that people are told, where one is configured. ``capacity`` is read while no rollout
    is under way. ``measured`` is None while no analysis is under way.
    """

    key: ModelKey
    observed_at: datetime.datetime
    object: Known[ModelDeploymentView] | Absent
    revisions: tuple[RevisionView, ...] = ()
    taken_ports: tuple[PortRange, ...] = ()
    serve: Known[ServeView] | Absent | Unknown
    route: Known[RouteText] | Absent | Unknown
    gateways: Known[tuple[GatewayView, ...]] | Absent | Unknown
    gateway_url: str | None = None
    measured: Measured | None = None
    capacity: Known[Capacity] | Unknown = UNREAD

    def up_by_gateway(self, revision: str) -> dict[str, int] | None:
        """Ready replicas of a revision by gateway; None while a gateway can't be read, and where there is none."""
        if not isinstance(self.gateways, Known) or not self.gateways.value:
            return None
        lives = {view.id: view.routes.get(self.key.name) for view in self.gateways.value}
        seen = {gateway: live.revisions.get(revision) if live is not None else None for gateway, live in lives.items()}
        return {
            gateway: revision_live.up if revision_live is not None else 0 for gateway, revision_live in seen.items()
        }
