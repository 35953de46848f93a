"""Ray Serve as it was read, and the Serve config as it is wanted."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from typing_extensions import override

from fairlead_operator.state import json_text
from fairlead_operator.state.knowledge import Known, Unknown


class ApplicationStatus(StrEnum):
    """Ray's ApplicationStatus; a word that this version doesn't know is read as UNKNOWN_STATUS, never as healthy."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"
    UNKNOWN_STATUS = "UNKNOWN_STATUS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationView:
    """One application as Ray reports it.

    A model in stages has a deployment for each stage. ``running_replicas`` counts whole copies of the model: replicas
    in state RUNNING of the deployment that has the fewest. ``target_replicas`` is what Ray aims at. Of all deployments
    ``waiting_replicas`` have no node with room yet, the first of them since ``waiting_since``. ``message`` joins
    the application's and its deployments' messages. ``running_ids`` name the running replicas: each has another id than
    the one that it replaced. ``config`` is ``deployed_app_config`` as it was read, None where
    Ray shows none. ``declarative`` is false for an application made with ``serve.run``.
    """

    name: str
    status: ApplicationStatus
    message: str = ""
    running_replicas: int = 0
    target_replicas: int = 0
    waiting_replicas: int = 0
    waiting_since: datetime.datetime | None = None
    running_ids: tuple[str, ...] = ()
    config: Mapping[str, object] | None = None
    declarative: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeView:
    """A believable answer: the Serve controller was there. ``session`` names the life of Ray's head."""

    session: str
    applications: Mapping[str, ApplicationView]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyServe:
    """200 with no applications and no controller: proves nothing by itself.

    ``consecutive_reads`` counts reads in a row, of the same head session, that said the same, and ``seconds`` the time
    since the first of them. ``last_session`` is the session in which this process last saw a Serve controller.
    """

    session: str
    consecutive_reads: int
    seconds: float = 0.0
    last_session: str | None = None

    @property
    def is_new_head(self) -> bool:
        """Whether Ray's head was replaced since a controller was seen: then everything that it ran is gone."""
        return self.last_session is not None and self.last_session != self.session


class RayWriteKind(StrEnum):
    """How the last pass over a Ray cluster ended."""

    KEPT = "Kept"
    """The cluster runs what should run there."""
    PUT = "Put"
    """The Serve config was written, and Ray accepted it."""
    HELD = "Held"
    """Nothing may be written now."""
    REFUSED = "Refused"
    """Ray refused the Serve config, or its answer was lost; it is written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayWrite:
    """What became of the Serve config of a Ray cluster; ``message`` says why it was held or refused.

    ``since`` is when the first of the passes in a row ended so.
    """

    kind: RayWriteKind
    message: str = ""
    since: datetime.datetime

    @property
    def is_accepted(self) -> bool:
        """Whether Ray has what should run there."""
        return self.kind in (RayWriteKind.KEPT, RayWriteKind.PUT)


RayEvidence = Known[ServeView] | EmptyServe | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationConfig:
    """One application of the wanted Serve config; ``body`` is its JSON as Ray gets it.

    ``replicas`` have to run. Up to ``replicas_max`` may, where Ray decides how many; elsewhere it is None. With
    ``keeps_more`` its scaling was turned off while it serves: if Ray has more replicas of it, these stay. ``attempt``
    counts how often it was started again after Ray had given it up.
    """

    name: str
    revision: str
    replicas: int
    replicas_max: int | None = None
    keeps_more: bool = False
    attempt: int = 0
    body: Mapping[str, Any]

    @property
    def most(self) -> int:
        """The largest number of replicas that Ray may run."""
        return self.replicas if self.replicas_max is None else self.replicas_max

    def is_deployed_as(self, view: ApplicationView) -> bool:
        """Whether Ray's ``deployed_app_config`` says the same; what we don't set is Ray's business.

        The attempt may be an earlier one where its replicas run after all.
        """
        return self.as_it_runs(view)._is_in(view.config)

    def _is_in(self, deployed: Mapping[str, object] | None) -> bool:
        if deployed is None or self.body == deployed:
            return deployed is not None
        body, deployed = json_text.plain(self.body), json_text.plain(deployed)
        if says_the_same(body, deployed):
            return True
        least = _least(deployed) if self.keeps_more else 0
        return least > self.replicas and says_the_same(self.at_least(least).body, deployed)

    def as_it_runs(self, view: ApplicationView) -> ApplicationConfig:
        """The same with the attempt whose replicas run, where that is an earlier one: another number restarts them.

        An attempt is announced while nothing runs. Ray may have replaced the replicas by itself since then.
        """
        if self.attempt == 0 or view.config is None or view.running_replicas == 0:
            return self
        found = _attempt_of(json_text.plain(view.config))
        if found is None or found >= self.attempt:
            return self
        body = json_text.plain(self.body)
        config = {**body["args"]["config"], "attempt": found}
        return replace(self, attempt=found, body={**body, "args": {**body["args"], "config": config}})

    def at_least(self, replicas: int) -> ApplicationConfig:
        """The same with so many replicas, where they are more and such a number stays; not for a fixed number."""
        if not self.keeps_more or replicas <= self.replicas:
            return self
        body = json_text.plain(self.body)
        bounds = {"min_replicas": replicas, "max_replicas": replicas}
        deployments = [
            {**each, "autoscaling_config": {**each["autoscaling_config"], **bounds}} for each in body["deployments"]
        ]
        body = {**body, "deployments": deployments}
        return replace(self, replicas=replicas, replicas_max=replicas, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Every application that should run on one Ray cluster.

    ``kept`` are applications that must go on as they are deployed, because what they were made from cannot be read.
    ``has_models`` is true while a ModelDeployment has a revision on the cluster or may get one: only then is a Serve
    controller wanted.
    """

    namespace: str
    applications: tuple[ApplicationConfig, ...]
    kept: tuple[str, ...] = ()
    has_models: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RayObserved:
    """What the pass of a Ray cluster sees."""

    namespace: str
    evidence: RayEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """PUT this body; ``changes`` says in words what differs from what is deployed."""

    body: bytes
    changes: tuple[str, ...]

    @override
    def __str__(self) -> str:
        return "put the Serve config: " + "; ".join(self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Nothing to write."""

    reason: str

    @override
    def __str__(self) -> str:
        return f"keep the Serve config: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing may be written now: look again after ``requeue_after_s``."""

    reason: str
    requeue_after_s: float

    @override
    def __str__(self) -> str:
        return f"write no Serve config: {self.reason}"


ServeDecision = Put | Keep | Hold


def _attempt_of(body: Mapping[str, object]) -> int | None:
    """The number in the replicas' own configuration; None where Ray shows something else."""
    found: object = body
    for part in ("args", "config", "attempt"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, int) else None


def _least(deployed: Mapping[str, object]) -> int:
    """The lower bound of the one deployment that an application of ours has; 0 where there is none."""
    match deployed:
        case {"deployments": [{"autoscaling_config": {"min_replicas": int(least)}}]}:
            return least
        case _:
            return 0


def says_the_same(wanted: object, deployed: object) -> bool:
    """Compares JSON values: each wanted key is there with the same value; 1 equals 1.0, null equals a missing key."""
    if isinstance(wanted, Mapping):
        if wanted == deployed:  # the usual case, at the speed of the interpreter
            return True
        if not isinstance(deployed, Mapping):
            return wanted == {} and deployed is None
        return all(says_the_same(value, deployed.get(key)) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        if not isinstance(deployed, (list, tuple)) or len(wanted) != len(deployed):
            return False
        return all(says_the_same(one, other) for one, other in zip(wanted, deployed, strict=True))
    return wanted == deployed
