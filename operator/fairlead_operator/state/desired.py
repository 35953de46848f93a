"""What should be, made from the object and its kept revisions alone; the world has no say here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_operator.api.evaluation import RequireEvaluation
from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.strategies import OnInsufficientCapacity
from fairlead_operator.state.analysis import Analysis
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.observed import RevisionTemplate
from fairlead_operator.state.route import RouteRevision, Routing
from fairlead_operator.state.serve import ApplicationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeight:
    """A step of a rollout: the candidate gets this share, in hundredths of a percent, and every gateway confirms it."""

    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A step of a rollout: nothing moves for ``duration_s``, or until a person lets it go on where that is None."""

    duration_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyse:
    """A step of a rollout: nothing moves until the analysis proves the candidate within its limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinSamples:
    """A step of a rollout: nothing moves until the candidate has answered so many requests since the step began."""

    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """A step of a rollout: the candidate gets up to ``count`` replicas, and every gateway sees them."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A step of a RollingUpdate: more of the candidate, then its share of the traffic, then fewer of the stable one."""

    candidate: int
    weight: int
    stable: int


Step = SetWeight | Pause | SetReplicas | Batch | Analyse | MinSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """Ray decides the number of replicas, between ``least`` and ``most``.

    Each replica is to have ``ongoing_requests`` in hand. The load has to ask for more replicas for ``up_s`` seconds, or
    for fewer for ``down_s``.
    """

    least: int
    most: int
    ongoing_requests: int
    up_s: int
    down_s: int

    def bounded(self, replicas: int) -> int:
        return max(self.least, min(self.most, replicas))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleToZero:
    """The model may have no replica: a request then waits for ``hold_s``.

    After ``idle_s`` without a request its replicas go, unless ``keeps_replicas``: a person asks for some.
    """

    idle_s: int
    hold_s: int
    keeps_replicas: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRevision:
    """A kept revision with everything derived from it.

    ``application`` is None while the object and its rollout give the revision no replica.
    """

    revision: str
    number: int
    template: RevisionTemplate
    cluster: str
    digest: str | None
    route: RouteRevision
    application: ApplicationConfig | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """``target`` is the revision that the spec hashes to; it may not be kept as a ControllerRevision yet.

    ``number`` is its number, ``cluster`` the Ray cluster where it goes, ``application`` what is to run there, as a
    ControllerRevision keeps it. ``replicas`` is what each serving revision should have, with ``autoscaling`` what a
    rollout works with: ``scaled_replicas`` of the rollout. ``least_field`` is the field of the spec that sets the
    fewest replicas. ``surge`` and ``unavailable`` are how far both together may be from it, and ``stable_at_first``
    what batches leave of the stable one before they begin. ``revisions`` are the kept ones, by revision. After a
    promotion the one before stays warm for ``warm_s``; within ``rollback_window_s`` a failure takes it back.
    ``scale_to_zero`` is None where the model always has a replica.
    """

    key: ModelKey
    uid: str
    suspended: bool
    target: str
    cluster: str
    number: int
    template: RevisionTemplate
    application: Mapping[str, object]
    replicas: int
    autoscaling: Autoscaling | None
    least_field: str
    scale_to_zero: ScaleToZero | None
    strategy: Strategy
    surge: int
    unavailable: int
    stable_at_first: int
    steps: tuple[Step, ...]
    routing: Routing
    progress_deadline_s: int
    paused: bool
    analysis: Analysis | None
    allow_signature_change: bool
    require_evaluation: RequireEvaluation | None
    on_insufficient_capacity: OnInsufficientCapacity
    rollback_window_s: int
    warm_s: int
    history_limit: int
    revisions: Mapping[str, WantedRevision]
