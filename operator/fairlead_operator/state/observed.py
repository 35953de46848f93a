"""The world as one pass of a model read it. Frozen; nothing here is inferred."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fairlead_operator.api import names
from fairlead_operator.api.model_source import ModelSource
from fairlead_operator.api.optimization import Optimization
from fairlead_operator.api.spec import ModelDeploymentSpec, Serving
from fairlead_operator.api.status import ModelDeploymentStatus
from fairlead_operator.state import rollout, unread
from fairlead_operator.state.analysis import Measured
from fairlead_operator.state.capacity import Capacity
from fairlead_operator.state.directory import Unplaced
from fairlead_operator.state.drift import ByRevision
from fairlead_operator.state.gateways import Gateways, MemberState
from fairlead_operator.state.infrastructure import Problem
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.knowledge import UNREAD, Absent, Known, Unknown
from fairlead_operator.state.route import RouteText
from fairlead_operator.state.serve import ApplicationView, RayWrite, ServeView
from fairlead_operator.state.workers import WorkerLimits, WorkerPods

SHOWN_FIELDS = frozenset(
    {
        *("conditions", "endpoints", "model", "observedGeneration", "phase", "readyReplicas", "replicas", "scaling"),
        "selector",
    }
)
"""What the operator writes into a status for others, and never reads."""


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
    status_problem: str | None = None
    """Why ``status`` lacks a part of what the operator remembers there: another version wrote it, or a stranger."""
    serving: rollout.Serving = field(init=False, compare=False, repr=False)
    """What ``status`` remembers, read once."""
    _wire: Mapping[str, object] | None = field(init=False, default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "serving", rollout.recall(self.status))

    @property
    def wire_status(self) -> Mapping[str, object]:
        """The status as JSON, made once.

        Only what was really there: a default that the server doesn't have yet still has to be written.
        """
        if self._wire is None:
            wire = self.status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
            object.__setattr__(self, "_wire", wire)
            return wire
        return self._wire

    def with_status(self, wire: Mapping[str, object]) -> ModelDeploymentView:
        """The same object with this status, which is JSON."""
        view = replace(self, status=ModelDeploymentStatus.model_validate(wire))
        object.__setattr__(view, "_wire", wire)
        return view

    @property
    def is_deleting(self) -> bool:
        return self.deletion_timestamp is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionTemplate:
    """What makes a revision: everything a replica is started with.

    Of the scaling settings only whether scaling is automatic is part of it: Ray restarts all replicas of an application
    that gets an autoscaling policy or loses it, and none where bounds, target or delays change. Source:
    ``get_app_code_version`` in ``ray/serve/_private/deploy_utils.py`` of Ray 2.60.
    """

    model: ModelSource
    serving: Serving
    is_autoscaled: bool = False
    optimization: Optimization | None = None

    @property
    def stages(self) -> int:
        """How many replicas of Ray hold one copy of the model."""
        return 1 if self.optimization is None else self.optimization.stages


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A ControllerRevision.

    ``application`` is the Serve application as it was composed when the revision was created, without the number of
    replicas, the ``user_config`` and the attempt; it runs on ``cluster``. ``digest`` is the annotation's: what the
    first replica read, None until pinned.
    """

    name: str
    revision: str
    number: int
    template: RevisionTemplate
    cluster: str
    application: Mapping[str, object]
    digest: str | None

    @property
    def content_digest(self) -> str | None:
        """The digest that replicas are held to: the manifest's, else the pinned one."""
        return self.template.model.digest or self.digest


class RouteWrites(StrEnum):
    """Whether routes can be written in the namespace, as the API server answered lately."""

    POSSIBLE = "possible"
    FORBIDDEN = "forbidden"
    """The operator has no right to; with the namespace, its RoleBinding may be gone."""
    ENDING = "ending"
    """The namespace is being deleted, so no route can be created."""


ROLLOUT_FIELD = "rollout"
"""The field of the status without which no rollout is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One snapshot.

    ``revisions`` are the object's own ControllerRevisions (by owner uid). ``serve`` is what each Ray cluster of the
    namespace runs, by name; it is empty where there is none. ``placement`` is the cluster where new revisions go;
    ``awaited`` says why it can't run one yet, ``unplaced`` why there is no such cluster, ``limits`` what its workers
    can hold. ``workers`` are the worker pods of each Ray cluster, by name, where they are known.
    ``gateways`` is Absent where the namespace has none, Unknown where its members can't be listed. ``route`` is the
    model's ModelRoute. ``gateway_url`` is the base URL for clients, where one is configured. ``capacity`` is what is
    free on each Ray cluster, by name: read where a rollout would begin. ``measured`` is None while no analysis is under
    way. ``ray_write`` is what became of the last write of each Ray cluster's Serve config, by name; a cluster without
    one had no pass yet. ``route_writes`` says whether a route could be written now. ``dropped_fields`` are those of the
    status that the CRD lacks, and those that the API server dropped from the last write of it. ``problem`` is why the
    model can't get a Ray cluster or a gateway in its namespace. ``drift`` is what Prometheus has on the model's
    revisions; None while nobody asked for it, or it was not read yet. ``is_placed_by_class`` says that the operator
    makes the Ray clusters, and keeps those that are recorded.
    """

    key: ModelKey
    observed_at: datetime.datetime
    object: Known[ModelDeploymentView] | Absent
    revisions: tuple[RevisionView, ...] = ()
    serve: Mapping[str, Known[ServeView] | Unknown]
    placement: str = names.DEFAULT_CLUSTER
    unplaced: Unplaced | None = None
    awaited: str | None = None
    limits: WorkerLimits | None = None
    workers: Mapping[str, WorkerPods] = field(default_factory=dict)
    route: Known[RouteText] | Absent | Unknown
    gateways: Known[Gateways] | Absent | Unknown
    gateway_url: str | None = None
    measured: Measured | None = None
    capacity: Mapping[str, Known[Capacity] | Unknown] = field(default_factory=dict)
    ray_write: Mapping[str, RayWrite] = field(default_factory=dict)
    dropped_fields: tuple[str, ...] = ()
    route_writes: RouteWrites = RouteWrites.POSSIBLE
    problem: Problem | None = None
    drift: Known[ByRevision] | Unknown | None = None
    is_placed_by_class: bool = False

    def serve_on(self, cluster: str) -> Known[ServeView] | Unknown:
        """What a Ray cluster runs; Unknown also for one that isn't listed, as it may still run."""
        return self.serve.get(cluster) or Unknown("the namespace has no Ray cluster of this name")

    def free_on(self, cluster: str) -> Known[Capacity] | Unknown:
        """What is free on a Ray cluster."""
        return self.capacity.get(cluster, UNREAD)

    @property
    def drops_rollout(self) -> bool:
        """Whether the status can't keep what is known of a rollout."""
        return ROLLOUT_FIELD in self.dropped_fields

    @property
    def routed(self) -> frozenset[str]:
        """The revisions that the route or a gateway names; where one can't be read and no rollout is kept, all."""
        everyone = self.gateways.value.everyone if isinstance(self.gateways, Known) else None
        if self.drops_rollout and (isinstance(self.route, Unknown) or everyone is None):
            return frozenset(revision.revision for revision in self.revisions)
        live = [view.routes.get(self.key.name) for view in everyone or ()]
        named = self.route.value.revisions if isinstance(self.route, Known) else ()
        return frozenset(named).union(*(route.revisions for route in live if route is not None))

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where the model's revisions run, as far as their ControllerRevisions and the status know."""
        kept = [revision.cluster for revision in self.revisions]
        status = self.object.value.status if isinstance(self.object, Known) else None
        active = {status.stable_revision, status.candidate_revision} if status is not None else set()
        listed = [row.cluster for row in status.revisions if row.name in active] if status is not None else []
        return tuple(sorted({*kept, *listed}))

    @property
    def applications(self) -> tuple[tuple[str, ApplicationView], ...]:
        """The model's applications on every Ray cluster that could be read, each with the cluster's name."""
        return tuple(
            (cluster, view)
            for cluster, evidence in sorted(self.serve.items())
            if isinstance(evidence, Known)
            for name, view in sorted(evidence.value.applications.items())
            if names.is_application_of(name, self.key.namespace, self.key.name)
        )

    @property
    def why_gateways_are_unknown(self) -> str | None:
        """The sentence on the Ready gateway that can't be read, or on the list of gateways."""
        return self.describe_unread_gateway(MemberState.READY)

    def describe_unread_gateway(self, *states: MemberState) -> str | None:
        """The same for gateways in any of these states."""
        match self.gateways:
            case Unknown(reason=reason):
                return unread.describe_gateways(reason)
            case Known(value=gateways):
                views = ((member.name, member.view) for member in gateways.members if member.state in states)
                found = ((name, view.reason) for name, view in views if isinstance(view, Unknown))
                return next((unread.describe_gateway(name, reason) for name, reason in found), None)
            case _:
                return None

    def up_by_gateway(self, revision: str) -> dict[str, int] | None:
        """Ready replicas of a revision by Ready gateway; None while one can't be read, and where there is none."""
        views = self.gateways.value.ready if isinstance(self.gateways, Known) else None
        if not views:
            return None
        lives = {view.id: view.routes.get(self.key.name) for view in views}
        seen = {gateway: live.revisions.get(revision) if live is not None else None for gateway, live in lives.items()}
        return {
            gateway: revision_live.up if revision_live is not None else 0 for gateway, revision_live in seen.items()
        }
