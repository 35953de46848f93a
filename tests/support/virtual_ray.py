"""The Ray clusters of the virtual world: what Ray Serve makes of a PUT, and what it shows.

A URI says how a model behaves; see ``virtual_world``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support import consistency

from fairlead_operator.state.capacity import Capacity, NodeRoom
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.serve import ApplicationStatus, ApplicationView, EmptyServe, RayEvidence, ServeView

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def digest_of(uri: str) -> str:
    return "sha256:" + hashlib.sha256(uri.encode()).hexdigest()


@dataclass
class RayApplication:
    config: dict[str, Any]
    running: int = 0
    ids: list[str] = field(default_factory=list)
    """Of the replicas that run, the oldest first."""
    born: int = 0
    failed: str = ""
    has_run: bool = False
    """Once a replica of this configuration was ready Ray goes on trying; before that it gives up for good."""
    is_stuck: bool = False
    is_hurt: bool = False
    words: str = ""
    """What Ray says of it while it is hurt."""
    deleting: bool = False
    shows_config: bool = True
    aimed: int = 0
    """Where scaling is automatic: what Ray's policy decided last, before the bounds."""
    room: int = 1000
    """No node has room for more replicas than these."""

    @property
    def target(self) -> int:
        deployment = self.config["deployments"][0]
        if self.deleting:
            return 0
        if (scaled := deployment.get("autoscaling_config")) is None:
            return int(deployment["num_replicas"])
        return max(int(scaled["min_replicas"]), min(int(scaled["max_replicas"]), self.aimed))

    @property
    def waiting(self) -> int:
        return max(0, self.target - max(self.room, self.running))

    @property
    def least(self) -> int:
        """With so many replicas Ray calls the application RUNNING."""
        scaled = self.config["deployments"][0].get("autoscaling_config")
        return int(scaled["min_replicas"]) if scaled else self.target

    @property
    def cores(self) -> float:
        return sum(float(each["ray_actor_options"]["num_cpus"]) for each in self.config["deployments"])

    @property
    def uri(self) -> str:
        return str(self.config["args"]["config"]["source"]["uri"])

    def tick(self, *, is_away: bool, is_missing: bool) -> None:
        """One more replica starts, or one stops."""
        if self.is_stuck or (self.failed and not self.has_run):
            return
        self.failed = ""
        pinned = self.config["deployments"][0]["user_config"]["digest"]
        if is_missing and self.running < self.target:
            self.failed = f"fairlead: ModelNotFound: {self.uri} is gone"
        elif is_away and self.running < self.target:
            self.failed = f"fairlead: FetchFailed: {self.uri} timed out"
        elif "/bad" in self.uri:
            self.failed = f"Traceback\nfairlead: ModelCorrupt: {self.uri} is not a SavedModel"
        elif pinned not in (None, digest_of(self.uri)):
            self.failed = f"fairlead: DigestMismatch: {self.uri} is not {pinned}"
        elif "/slow" not in self.uri:
            self.running += (self.running < min(self.target, self.room)) - (self.running > self.target)
            self.has_run = self.has_run or self.running > 0
            self.is_hurt = self.is_hurt and self.running < self.target

    def running_ids(self) -> tuple[str, ...]:
        """A replica that replaced another has another id."""
        del self.ids[self.running :]
        while len(self.ids) < self.running:
            self.ids.append(f"{self.born:08x}")
            self.born += 1
        return tuple(self.ids)

    def kill(self, which: int) -> None:
        """The replica at a place in the order of their age ends by itself."""
        del self.ids[which : which + 1 or None]
        self.running -= 1

    def view(self, name: str) -> ApplicationView:
        status = self._status()
        return ApplicationView(
            name=name,
            status=status,
            message=self.failed or (self.words if status is ApplicationStatus.UNHEALTHY else ""),
            running_replicas=self.running,
            running_ids=self.running_ids(),
            target_replicas=self.target,
            waiting_replicas=self.waiting,
            waiting_since=EPOCH if self.waiting else None,
            config=self.config if self.shows_config else None,
        )

    def _status(self) -> ApplicationStatus:
        if self.deleting:
            return ApplicationStatus.DELETING
        if self.failed:
            return ApplicationStatus.DEPLOY_FAILED
        if self.least <= self.running <= max(self.least, self.target):
            return ApplicationStatus.RUNNING
        return ApplicationStatus.UNHEALTHY if self.is_hurt else ApplicationStatus.DEPLOYING


@dataclass
class RayCluster:
    name: str
    session: int = 1
    serve_runs: bool = False
    empty_reads: int = 0
    empty_since: datetime.datetime = EPOCH
    last_session: str | None = None
    """In which the operator last saw a Serve controller: it knows that from memory alone."""
    is_away: bool = False
    """Nobody can read it; what runs there goes on."""
    cores: float | None = None
    """Of the one node there is; None is a cluster of which nobody knows what it can hold."""
    applications: dict[str, RayApplication] = field(default_factory=dict)

    @property
    def session_name(self) -> str:
        return f"session_{self.session}" if self.name == "default" else f"session_{self.name}_{self.session}"

    def lose(self) -> None:
        """The head restarts: every application and Serve itself are gone."""
        self.session += 1
        self.serve_runs, self.empty_reads = False, 0
        self.applications.clear()

    def tick(self, *, sources_are_away: bool, missing: set[str]) -> None:
        for name, application in list(self.applications.items()):
            if not application.deleting:
                is_away = sources_are_away or "/away" in application.uri
                application.tick(is_away=is_away, is_missing=application.uri in missing)
            elif application.running == 0:
                del self.applications[name]
            else:
                application.running -= 1

    def room(self) -> Known[Capacity] | Unknown:
        if self.cores is None or self.is_away:
            return Unknown("timed out")
        used = sum(max(app.running, app.target) * app.cores for app in self.applications.values())
        return Known(Capacity(nodes={"node": NodeRoom(cpu_cores=self.cores - used, memory_bytes=2**40)}))

    def serve_view(self) -> ServeView:
        views = {name: application.view(name) for name, application in self.applications.items()}
        return ServeView(session=self.session_name, applications=views)

    def seen(self, *, is_unread: bool, is_empty: bool) -> Known[ServeView] | Unknown:
        """What a model's pass sees."""
        if is_unread or self.is_away:
            return Unknown("timed out")
        return Known(self.serve_view()) if self.serve_runs and not is_empty else Unknown("no Serve controller")

    def evidence(self, now: datetime.datetime, *, is_unread: bool, is_empty: bool) -> RayEvidence:
        """What the cluster's own pass sees: an empty answer is counted."""
        if is_unread or self.is_away:
            self.empty_reads = 0
            return Unknown("timed out")
        if self.serve_runs and not is_empty:
            self.empty_reads, self.last_session = 0, self.session_name
            return Known(self.serve_view())
        self.empty_since = self.empty_since if self.empty_reads else now
        self.empty_reads += 1
        return EmptyServe(
            session=self.session_name,
            consecutive_reads=self.empty_reads,
            seconds=(now - self.empty_since).total_seconds(),
            last_session=self.last_session,
        )

    def forget(self) -> None:
        """The operator died: what it counted it knew from memory alone."""
        self.empty_reads, self.last_session = 0, None

    def put(self, body: bytes, promised: Callable[[], dict[str, int]]) -> None:
        """Ray's own semantics: what is missing is deleted, changed args restart in place, the same keeps a failure."""
        self.serve_runs = True
        desired = {config["name"]: config for config in json.loads(body)["applications"]}
        running = {name: app.config for name, app in self.applications.items() if not app.deleting and app.running}
        serving = {name: count for name, count in promised().items() if name in self.applications}
        consistency.check_put(running=running, desired=desired, serving=serving)
        for name, application in self.applications.items():
            if name not in desired:
                application.deleting = True
        for name, config in desired.items():
            old = self.applications.get(name)
            if old is None or old.deleting or old.config["args"] != config["args"]:
                self.applications[name] = RayApplication(config=config)
            else:
                old.aimed, old.config = old.target, config
