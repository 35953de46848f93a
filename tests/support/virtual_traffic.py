"""The clients and gateways of the virtual world: which revision gets a request, how it ends, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.virtual_objects import Clock, Objects
from tests.support.virtual_ray import RayApplication, RayCluster

from fairlead_operator.api import names
from fairlead_operator.api.counts import Counters, Scale
from fairlead_operator.state.gateways import Gateways, GatewaySeen
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.measurements import GatewayReading
from fairlead_operator.state.route import FULL_WEIGHT, GatewayView, HoldLive, RevisionLive, RouteLive, RouteText

REQUEST_TICKS = 4
DURATION_BOUNDS_S = (0.01, 0.1)


@dataclass
class Gateway:
    id: str
    routes: dict[str, str] = field(default_factory=dict)
    sessions: dict[tuple[str, str], int] = field(default_factory=dict)
    is_stuck: bool = False
    is_away: bool = False
    """Nobody can read it, and it takes nothing."""
    epoch: int = 1
    errors: dict[str, str] = field(default_factory=dict)
    """Why it refuses a model's entry, by model."""
    counted: dict[tuple[str, str], Counters] = field(default_factory=dict)
    """By model and revision, since the epoch began."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Requests that wait for a first replica, by model."""
    idle: set[str] = field(default_factory=set)
    """Models without a request for the time that their route names."""


class Traffic(Objects):
    """The namespace's Ray clusters and gateways."""

    def __init__(self, namespace: str, clusters: Sequence[str], *, gateways: int, clock: Clock) -> None:
        super().__init__(namespace, clusters[0], clock)
        self.gateways = [Gateway(id=f"gw-{n}") for n in range(gateways)]
        self.clusters = {name: RayCluster(name=name) for name in clusters}
        self.is_cut_off = False
        """No gateway reaches any replica."""
        self.unnoticed: dict[str, int] = {}
        """By revision, the replicas that Ray stops or has stopped while the gateways still see them."""
        self.load = 0
        """Requests that come to each gateway with each tick."""

    # The replicas

    @property
    def applications(self) -> dict[str, RayApplication]:
        """What runs on all clusters."""
        return {name: app for cluster in self.clusters.values() for name, app in cluster.applications.items()}

    def running(self, name: str, revision: str) -> int:
        application = self.applications.get(names.serve_application(self.namespace, name, revision))
        return application.running if application is not None else 0

    def kill_replica(self, name: str, words: str = "", *, which: int = -1) -> None:
        """Ends the youngest replica of an application, or another by its age."""
        application = self.applications.get(name)
        if application is not None and application.running:
            application.kill(which)
            application.is_hurt, application.words = True, words

    def stop_replicas(self, name: str, number: int) -> None:
        """Every replica of a revision ends, and none gets ready again."""
        revision = next(r.revision for r in self.models[name].revisions.values() if r.number == number)
        application = self.applications[names.serve_application(self.namespace, name, revision)]
        application.running, application.is_hurt, application.is_stuck = 0, True, True

    def crash_replica(self, name: str, number: int, words: str) -> None:
        """One replica of a revision ends by itself, and Ray starts another."""
        revision = next(r.revision for r in self.models[name].revisions.values() if r.number == number)
        self.kill_replica(names.serve_application(self.namespace, name, revision), words)

    def aim(self, name: str, number: int, replicas: int) -> None:
        """Ray's policy decides so many replicas for a revision, whose bounds then hold."""
        for revision in self.models[name].revisions.values() if name in self.models else ():
            application = self.applications.get(names.serve_application(self.namespace, name, revision.revision))
            if revision.number == number and application is not None:
                application.aimed = replicas

    def make_room(self, name: str, number: int, replicas: int) -> None:
        """The nodes have room for so many replicas of a revision."""
        revision = next(r.revision for r in self.models[name].revisions.values() if r.number == number)
        self.applications[names.serve_application(self.namespace, name, revision)].room = replicas

    # The clients

    def take_routes(self, gateway: Gateway) -> None:
        """Takes the routes as they are now; one whose object is gone stays, unless it was retired before."""
        kept = {model: text for model, text in gateway.routes.items() if not RouteText(text=text).is_retired}
        gateway.routes = {**kept, **self.routes}

    def occupy(self, gateway: Gateway) -> None:
        """A request that runs for a while comes to every revision with a weight or a match."""
        self.steps += 1
        for model, text in gateway.routes.items():
            for revision in asked_by(text):
                gateway.sessions[model, revision] = REQUEST_TICKS

    def send(self, gateway: Gateway, requests: int) -> None:
        """Clients send requests, which the table shares out; a model ``…/failing…`` fails every fifth of its own."""
        for model, text in gateway.routes.items():
            for revision, weight in self._shares(model, text).items():
                is_sour = weight == FULL_WEIGHT and "/souring" in self._uri(model, revision)
                self._count(gateway, model, revision, requests * weight // FULL_WEIGHT, is_sour=is_sour)
            self._show(gateway, model, text, requests)

    def _shares(self, model: str, text: str) -> Mapping[str, int]:
        """As the table says, but a candidate without a replica gets nothing: the stable revision answers."""
        entry, weights = json.loads(text), RouteText(text=text).weights()
        if entry.get("candidate") in weights and not self.running(model, entry["candidate"]):
            return {entry["stable"]: FULL_WEIGHT}
        return weights

    def _show(self, gateway: Gateway, model: str, text: str, requests: int) -> None:
        """Stable replicas repeat what was marked at the candidate; a copy without an answer is no pair."""
        entry = json.loads(text)
        pairs = requests * entry.get("shadow", 0) // 10_000
        if not pairs or not self.running(model, entry["candidate"]):
            return
        is_same = "/odd" not in self._uri(model, entry["candidate"])
        key = (model, entry["candidate"])
        shown = Counters(pairs=pairs, disagreed=0 if is_same else pairs // 4)
        gateway.counted[key] = gateway.counted.get(key, Counters()).plus(shown)

    def _uri(self, model: str, revision: str) -> str:
        application = self.applications.get(names.serve_application(self.namespace, model, revision))
        return application.uri if application is not None else "/failing"

    def _count(self, gateway: Gateway, model: str, revision: str, requests: int, *, is_sour: bool) -> None:
        uri = self._uri(model, revision)
        errors = requests // 5 if "/failing" in uri or is_sour else 0
        if not self.running(model, revision) or self.is_cut_off:
            errors = requests
        answered = requests - errors  # a refusal takes no time, and says nothing of how long a prediction does
        durations = (0, 0, answered) if "/late" in uri else (answered, 0, 0)
        new = Counters(requests=requests, server_errors=errors, durations=durations)
        gateway.counted[model, revision] = gateway.counted.get((model, revision), Counters()).plus(new)

    def hold(self, gateway: Gateway, name: str, requests: int) -> None:
        """Requests come that find no replica: those that may wait do, the others are refused."""
        self.steps += 1
        entry = json.loads(gateway.routes.get(name, "{}"))
        limit = entry.get("hold", {}).get("requests", 0)
        gateway.waiting[name] = min(limit, gateway.waiting.get(name, 0) + requests)
        gateway.idle.discard(name)

    def release(self, gateway: Gateway) -> None:
        """What waits is answered where a replica runs."""
        for name in list(gateway.waiting):
            stable = RouteText(text=gateway.routes.get(name, "{}")).stable
            if stable is not None and self.running(name, stable) and not self.is_cut_off:
                del gateway.waiting[name]

    def rest(self, name: str) -> None:
        """No request came to any gateway for long enough."""
        self.steps += 1
        for gateway in self.gateways:
            gateway.idle.add(name)

    def label(self, name: str, revision: str, *, right: int, wrong: int) -> None:
        """True labels come for what a revision predicted; every gateway reads them of the same replicas."""
        new = Counters(labelled=right + wrong, correct=right)
        for gateway in self.gateways:
            gateway.counted[name, revision] = gateway.counted.get((name, revision), Counters()).plus(new)

    def restart_agent(self, gateway: Gateway) -> None:
        """Its counters begin again, in another epoch."""
        gateway.epoch += 1
        gateway.counted = {}

    # What the gateways report

    def _reading(self, gateway: Gateway, name: str) -> GatewayReading:
        return GatewayReading(
            gateway=gateway.id,
            epoch=f"{gateway.id}-{gateway.epoch}",
            scale=Scale(durations_s=DURATION_BOUNDS_S),
            revisions={rev: counters for (model, rev), counters in gateway.counted.items() if model == name},
        )

    def _read_gateways(self, unread: set[str]) -> Gateways:
        return Gateways(members=tuple(self._seen(gateway, is_unread=gateway.id in unread) for gateway in self.gateways))

    def _seen(self, gateway: Gateway, *, is_unread: bool) -> GatewaySeen:
        if is_unread:
            return GatewaySeen(name=gateway.id, view=Unknown("timed out"))
        routes = {name: self._live(gateway, name, text) for name, text in gateway.routes.items()}
        view = GatewayView(id=gateway.id, routes=routes, errors=gateway.errors)
        return GatewaySeen(name=gateway.id, view=Known(view))

    def _live(self, gateway: Gateway, name: str, text: str) -> RouteLive:
        entry = json.loads(text)
        revisions = {
            revision: RevisionLive(
                up=0 if self.is_cut_off else self.running(name, revision) + self.unnoticed.get(revision, 0),
                draining=0,
                sessions=int((name, revision) in gateway.sessions),
            )
            for revision in entry.get("revisions", {})
        }
        waiting = gateway.waiting.get(name, 0)
        is_idle = name in gateway.idle and not waiting and not any(model == name for model, _ in gateway.sessions)
        return RouteLive(
            version=entry["version"],
            revisions=revisions,
            is_retired=entry.get("retired", False),
            hold=HoldLive(waiting=waiting, is_idle=is_idle) if "hold" in entry else None,
        )


def asked_by(text: str) -> set[str]:
    """The revisions that unpinned requests come to."""
    route = RouteText(text=text)
    candidate = json.loads(text).get("candidate")
    return {*route.weights(), *({candidate} if candidate is not None and route.is_matched(candidate) else ())}
