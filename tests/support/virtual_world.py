"""A small model of Kubernetes, Ray Serve and the gateways, with state, on a virtual clock.

Passes of the real pure core are run against it; faults strike between any two of their steps. A URI says how a model
behaves: ``…/bad…`` can't be loaded, ``…/wrong…`` answers wrongly, ``…/slow…`` is never ready, ``…/wider…`` takes
another input, ``…/failing…`` fails every fifth request of clients, ``…/late…`` takes ten times as long,
``…/away…`` can't be reached, ``…/odd…`` says something else to every fourth request that it is shown,
``…/souring…`` is ``failing`` once it has all requests, all else is good.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.support import client_oracle, consistency, merge_patch
from tests.support.virtual_ray import EPOCH, RayApplication, RayCluster, digest_of

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import ModelDeploymentStatus, Verb
from fairlead_operator.desired import build, serve_config
from fairlead_operator.desired import revision as revisions_of
from fairlead_operator.plan import planner
from fairlead_operator.plan import serve_config as serve_plan
from fairlead_operator.state import actions, analysis, question
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.gateways import Gateways, GatewaySeen
from fairlead_operator.state.keys import ModelKey, RayKey
from fairlead_operator.state.knowledge import ABSENT, Absent, Known, Unknown
from fairlead_operator.state.measurements import Counters, GatewayReading, Scale
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed, RevisionView, RouteWrites
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import recall
from fairlead_operator.state.route import FULL_WEIGHT, GatewayView, RetiredRoute, RevisionLive, RouteLive, RouteText
from fairlead_operator.state.serve import (
    Hold,
    Put,
    RayObserved,
    RayWrite,
    RayWriteKind,
    ServeDecision,
    ServeView,
)
from fairlead_operator.state.signature import Signature, Tensor, differences
from fairlead_operator.status import summary

NAMESPACE = "default"
PATIENCE_S = 700
LOOK_S = 20
REQUEST_TICKS = 4
DURATION_BOUNDS_S = (0.01, 0.1)


def nothing() -> None:
    """What happens between two steps of a pass, by default."""


class Fault(StrEnum):
    """What goes wrong in one pass."""

    NONE = "none"
    CRASH_BEFORE_WRITE = "crash before the write"
    CRASH_AFTER_WRITE = "crash after the write"
    LOST_ANSWER = "the write happened, the answer was lost"
    REFUSED = "the write was refused"
    CONFLICT = "the write came too late: 409"
    STATUS_CONFLICT = "the status was not written"
    STATUS_ANSWER_LOST = "the status was written, the answer was lost"
    RAY_UNREAD = "Ray can't be read"
    RAY_EMPTY = "Ray answers 200 with nothing, though everything runs"
    GATEWAY_UNREAD = "a gateway can't be read"
    ROUTE_UNREAD = "the route table can't be read"
    MEASUREMENTS_UNREAD = "the measurements can't be read"


class Outage(StrEnum):
    """What goes wrong for a while, until ``VirtualWorld.end_outages``."""

    RAY = "no Ray cluster can be read"
    GATEWAY = "one gateway can't be read"
    GATEWAYS = "no gateway can be read"
    STORE = "no model can be fetched"
    PUTS = "Ray refuses every configuration"
    REACH = "no gateway reaches any replica"


@dataclass
class StoredModel:
    uid: str
    spec: dict[str, Any]
    generation: int = 1
    resource_version: int = 1
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    revisions: dict[str, RevisionView] = field(default_factory=dict)


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


@dataclass
class Written:
    """One write, for the invariants and the stories."""

    kind: str
    what: str


def signature_of(uri: str) -> Signature:
    shape = (-1, 8) if "/wider" in uri else (-1, 4)
    return Signature(
        inputs={"x": Tensor(datatype="FP32", shape=shape)}, outputs={"y": Tensor(datatype="FP32", shape=(-1, 3))}
    )


class VirtualWorld:
    def __init__(
        self, *, bounds: Bounds | None = None, gateways: int = 2, clusters: Sequence[str] = (names.DEFAULT_CLUSTER,)
    ) -> None:
        """New revisions go to the first of the clusters, until ``placement`` is changed."""
        self.bounds = bounds or Bounds()
        self.now = EPOCH
        self.models: dict[str, StoredModel] = {}
        self.routes: dict[str, str] = {}
        self.gateways = [Gateway(id=f"gw-{n}") for n in range(gateways)]
        self.clusters = {name: RayCluster(name=name) for name in clusters}
        self.placement = clusters[0]
        self.serve_queued = False
        self.sources_are_away = False
        self.missing: set[str] = set()
        """URIs at which there is nothing any more."""
        self.route_writes = self.noted_writes = RouteWrites.POSSIBLE
        """What the API server lets the operator write, and what it has noticed of it."""
        self.puts_are_refused = False
        self.is_cut_off = False
        """No gateway reaches any replica."""
        self.measurements_are_away = False
        self.load = 0
        """Requests that come to each gateway with each tick."""
        self.answers: dict[str, Known[float | None] | Unknown] = {}
        self.writes: list[Written] = []
        self.events: list[actions.Event] = []
        self.ray_write: dict[str, RayWrite] = {}
        """How the last pass over each Ray cluster ended, as the operator's process remembers it."""
        self.plans: list[actions.Plan] = []
        self.steps = 0
        """How often something happened here: a pass, a tick, or what people and the world did in between."""
        self._uids = 0
        self._requests = 0

    # What people do

    def apply(self, name: str, **spec: Any) -> None:
        """Creates the object or changes its spec."""
        self.steps += 1
        ModelDeploymentSpec.model_validate(spec)
        stored = self.models.get(name)
        if stored is None:
            self._uids += 1
            self.models[name] = StoredModel(uid=f"uid-{self._uids}", spec=spec)
        elif stored.spec != spec and not stored.deleting:
            stored.spec, stored.generation = spec, stored.generation + 1
            stored.resource_version += 1

    def change(self, name: str, path: str, value: Any) -> None:
        """Changes one field: ``change("digits", "scaling.replicas", 3)``."""
        spec = json.loads(json.dumps(self.models[name].spec))
        *parents, last = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
        self.apply(name, **spec)

    def delete(self, name: str) -> None:
        self.steps += 1
        if (stored := self.models.get(name)) is not None:
            stored.deleting = True
            stored.resource_version += 1
            self._reap(name)

    def ask(
        self, name: str, verb: str, *, revision: str | None = None, step: int | None = None, number: int | None = None
    ) -> None:
        """Writes a request as ``kubectl fairlead`` does; the API server keeps an Abort that is not carried out yet."""
        self.steps += 1
        stored = self.models[name]
        known = recall(self.view(name).status)
        before, handled = stored.status.get("request"), stored.status.get("handledRequest")
        if before and before["verb"] == Verb.ABORT and (not handled or handled["id"] != before["id"]):
            return
        if verb == Verb.RETRY:
            template = revisions_of.template_of(self.spec(name))
            revision = revision or revisions_of.revision_of(stored.uid, template, self.placement)
        self._requests += 1
        request = {"id": f"request-{self._requests}", "verb": verb, "time": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        request["revision"] = revision or known.candidate or known.stable or "0000000000"
        extra = {"step": step, "number": number}
        stored.status["request"] = request | {key: value for key, value in extra.items() if value is not None}
        stored.resource_version += 1

    def spec(self, name: str) -> ModelDeploymentSpec:
        return ModelDeploymentSpec.model_validate(self.models[name].spec)

    # What the world does by itself

    @property
    def applications(self) -> dict[str, RayApplication]:
        """What runs on all clusters."""
        return {name: app for cluster in self.clusters.values() for name, app in cluster.applications.items()}

    @property
    def cores(self) -> float | None:
        return self.clusters[self.placement].cores

    @cores.setter
    def cores(self, cores: float | None) -> None:
        self.clusters[self.placement].cores = cores

    def lose_ray(self, cluster: str = names.DEFAULT_CLUSTER) -> None:
        """The head restarts: every application and Serve itself are gone."""
        self.steps += 1
        self.clusters[cluster].lose()

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes: Ray starts or stops replicas, gateways take routes, requests end."""
        self.steps += 1
        self.now += datetime.timedelta(seconds=seconds)
        for cluster in self.clusters.values():
            cluster.tick(sources_are_away=self.sources_are_away, missing=self.missing)
        for gateway in self.gateways:
            if not gateway.is_stuck and not gateway.is_away:
                self.take_routes(gateway)
            self.send(gateway, self.load)
            gateway.sessions = {where: ticks - 1 for where, ticks in gateway.sessions.items() if ticks > 1}

    def begin(self, outage: Outage) -> None:
        self.steps += 1
        match outage:
            case Outage.RAY:
                for cluster in self.clusters.values():
                    cluster.is_away = True
            case Outage.GATEWAY:
                self.gateways[0].is_away = True
            case Outage.GATEWAYS:
                for gateway in self.gateways:
                    gateway.is_away = True
            case Outage.STORE:
                self.sources_are_away = True
            case Outage.PUTS:
                self.puts_are_refused = True
            case Outage.REACH:
                self.is_cut_off = True

    def end_outages(self) -> None:
        self.sources_are_away = self.puts_are_refused = self.is_cut_off = False
        for cluster in self.clusters.values():
            cluster.is_away = False
        for gateway in self.gateways:
            gateway.is_away = False

    def advance(self, seconds: float) -> None:
        self.steps += 1
        self.now += datetime.timedelta(seconds=seconds)

    def take_routes(self, gateway: Gateway) -> None:
        """Takes the routes as they are now; one whose object is gone stays, unless it was retired before."""
        kept = {model: text for model, text in gateway.routes.items() if not RouteText(text=text).is_retired}
        gateway.routes = {**kept, **self.routes}

    def prune_route(self, name: str) -> None:
        """Somebody deletes the model's route, who did not mark it first."""
        self.steps += 1
        self.routes.pop(name, None)

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
        application = self.applications.get(names.serve_application(NAMESPACE, model, revision))
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

    def label(self, name: str, revision: str, *, right: int, wrong: int) -> None:
        """True labels come for what a revision predicted; every gateway reads them of the same replicas."""
        new = Counters(labelled=right + wrong, correct=right)
        for gateway in self.gateways:
            gateway.counted[name, revision] = gateway.counted.get((name, revision), Counters()).plus(new)

    def restart_agent(self, gateway: Gateway) -> None:
        """Its counters begin again, in another epoch."""
        gateway.epoch += 1
        gateway.counted = {}

    def kill_replica(self, name: str, words: str = "") -> None:
        application = self.applications.get(name)
        if application is not None and application.running:
            application.running -= 1
            application.is_hurt, application.words = True, words

    def stop_replicas(self, name: str, number: int) -> None:
        """Every replica of a revision ends, and none gets ready again."""
        revision = next(r.revision for r in self.models[name].revisions.values() if r.number == number)
        application = self.applications[names.serve_application(NAMESPACE, name, revision)]
        application.running, application.is_hurt, application.is_stuck = 0, True, True

    def crash_replica(self, name: str, number: int, words: str) -> None:
        """One replica of a revision ends by itself, and Ray starts another."""
        revision = next(r.revision for r in self.models[name].revisions.values() if r.number == number)
        self.kill_replica(names.serve_application(NAMESPACE, name, revision), words)

    # What the operator sees

    def view(self, name: str) -> ModelDeploymentView:
        stored = self.models[name]
        return ModelDeploymentView(
            namespace=NAMESPACE,
            name=name,
            uid=stored.uid,
            generation=stored.generation,
            resource_version=str(stored.resource_version),
            deletion_timestamp=EPOCH if stored.deleting else None,
            finalizers=stored.finalizers,
            spec=ModelDeploymentSpec.model_validate(stored.spec),
            status=ModelDeploymentStatus.model_validate(stored.status),
        )

    def observe(self, name: str, fault: Fault = Fault.NONE) -> Observed:
        stored = self.models.get(name)
        return Observed(
            key=ModelKey(NAMESPACE, name),
            observed_at=self.now,
            object=Known(self.view(name)) if stored is not None else ABSENT,
            revisions=tuple(stored.revisions.values()) if stored is not None else (),
            serve=self._serve(fault),
            placement=self.placement,
            route=self._route(name, fault),
            gateways=Known(self._gateways(fault)),
            capacity=Unknown("timed out") if fault is Fault.RAY_UNREAD else self.clusters[self.placement].room(),
            measured=self._measured(name, fault) if stored is not None else None,
            ray_write=dict(self.ray_write),
            route_writes=self.noted_writes,
        )

    def _forbids_route(self, name: str) -> bool:
        return self.route_writes is RouteWrites.FORBIDDEN or (
            self.route_writes is RouteWrites.ENDING and name not in self.routes
        )

    def _measured(self, name: str, fault: Fault) -> analysis.Measured | None:
        asked = question.find_question(self.view(name), self.now)
        if asked is None:
            return None
        answers = {metric: self.answers.get(metric, Known(None)) for metric in asked.queries}
        if fault is Fault.MEASUREMENTS_UNREAD or self.measurements_are_away:
            return analysis.Measured(gateways=Unknown("gw-0 timed out"), answers=answers)
        return analysis.Measured(gateways=Known(tuple(self._reading(g, name) for g in self.gateways)), answers=answers)

    def _reading(self, gateway: Gateway, name: str) -> GatewayReading:
        return GatewayReading(
            gateway=gateway.id,
            epoch=f"{gateway.id}-{gateway.epoch}",
            scale=Scale(durations_s=DURATION_BOUNDS_S),
            revisions={rev: counters for (model, rev), counters in gateway.counted.items() if model == name},
        )

    def _serve(self, fault: Fault) -> Mapping[str, Known[ServeView] | Unknown]:
        is_unread, is_empty = fault is Fault.RAY_UNREAD, fault is Fault.RAY_EMPTY
        return {n: cluster.seen(is_unread=is_unread, is_empty=is_empty) for n, cluster in self.clusters.items()}

    def _route(self, name: str, fault: Fault) -> Any:
        if fault is Fault.ROUTE_UNREAD:
            return Unknown("the API server timed out")
        return Known(RouteText(text=self.routes[name])) if name in self.routes else ABSENT

    def _gateways(self, fault: Fault) -> Gateways:
        unread = {gateway.id for gateway in self.gateways if gateway.is_away}
        unread |= {self.gateways[0].id} if fault is Fault.GATEWAY_UNREAD else set()
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
                up=0 if self.is_cut_off else self.running(name, revision),
                draining=0,
                sessions=int((name, revision) in gateway.sessions),
            )
            for revision in entry.get("revisions", {})
        }
        return RouteLive(version=entry["version"], revisions=revisions, is_retired=entry.get("retired", False))

    def running(self, name: str, revision: str) -> int:
        application = self.applications.get(names.serve_application(NAMESPACE, name, revision))
        return application.running if application is not None else 0

    # What the operator does

    def pass_model(
        self, name: str, fault: Fault = Fault.NONE, meanwhile: Callable[[], object] = nothing
    ) -> actions.Plan:
        """One pass, as ``reconcile`` runs it. ``meanwhile`` happens after its reads: it decides by what was."""
        self.steps += 1
        observed = self.observe(name, fault)
        view = observed.object.value if isinstance(observed.object, Known) else None
        kept, at = observed.revisions, self.placement
        desired = build.build(view, kept, self.bounds, cluster=at) if view is not None else ABSENT
        plan = planner.make(desired, observed, self.bounds, self.now)
        consistency.check_plan(observed, plan)
        self.plans.append(plan)
        now, version = self.now, self._version(name)
        meanwhile()
        is_late = self._version(name) != version
        outcome = self._execute(plan, name, fault, is_late=is_late)
        if view is None or isinstance(desired, Absent) or outcome is None:
            return plan
        if is_late or fault in (Fault.CRASH_AFTER_WRITE, Fault.STATUS_CONFLICT):
            return plan
        update = summary.summarise(desired, view, observed, plan=plan, outcome=outcome, now=now)
        if self.now == now and fault is Fault.NONE and meanwhile is nothing:
            client_oracle.check_available(self, name, update.status)
        self._write_status(name, view.uid, update, is_told=fault is not Fault.STATUS_ANSWER_LOST)
        return plan

    def _version(self, name: str) -> tuple[str, int] | None:
        stored = self.models.get(name)
        return (stored.uid, stored.resource_version) if stored is not None else None

    def _write_status(self, name: str, uid: str, update: actions.StatusUpdate, *, is_told: bool) -> None:
        stored = self.models.get(name)
        if update.patch is None or stored is None or stored.uid != uid:
            return
        stored.status = merge_patch.merged(stored.status, update.patch)
        stored.resource_version += 1
        self.writes.append(Written(kind="status", what=name))
        if is_told:
            self.events.extend(update.events)
        self.serve_queued = True
        consistency.hold(stored.status == update.status, "the patch does not make the status that was meant")
        size = len(json.dumps(stored.status))
        consistency.hold(size <= consistency.STATUS_MAX_BYTES, f"the status has {size} bytes")

    def _execute(self, plan: actions.Plan, name: str, fault: Fault, *, is_late: bool) -> actions.Outcome | None:
        """None when the operator died."""
        action = plan.action
        if isinstance(action, actions.NudgeServe | actions.Wait):
            self.serve_queued = self.serve_queued or isinstance(action, actions.NudgeServe)
            return None if fault is Fault.CRASH_BEFORE_WRITE else actions.Done()
        if fault is Fault.CRASH_BEFORE_WRITE:
            return None
        if fault is Fault.REFUSED:
            return actions.Refused(reason=Reason.WRITE_FAILED, message="503 from the API server")
        guarded = isinstance(action, actions.AddFinalizer | actions.RemoveFinalizer)
        if fault is Fault.CONFLICT or (is_late and guarded):
            return actions.Refused(reason=Reason.CONFLICT, message="the object has been modified")
        outcome = self._do(action, name)
        self.writes.append(Written(kind=type(action).__name__, what=str(action)))
        if fault is Fault.LOST_ANSWER:
            return actions.Refused(reason=Reason.WRITE_FAILED, message="the answer was lost")
        return outcome

    def _do(self, action: actions.Action, name: str) -> actions.Outcome:
        match action:
            case actions.WriteRoute(entry=entry):
                self.routes[name] = entry.to_json()
            case actions.RetireRoute() if self._forbids_route(name):
                self.noted_writes = self.route_writes
            case actions.RetireRoute():
                self.routes[name] = RetiredRoute().to_json()
            case actions.DeleteRoute():
                consistency.hold(RouteText(text=self.routes[name]).is_retired, "deletes a route that is not retired")
                self.routes.pop(name, None)
            case actions.Prove(revision=revision, contract_of=contract_of):
                return self._prove(name, revision, contract_of)
            case _:
                return self._do_object(action, name)
        return actions.Done()

    def _do_object(self, action: actions.Action, name: str) -> actions.Outcome:
        stored = self.models.get(name)
        if stored is None:  # it is gone meanwhile: what would be its own is the garbage collector's
            return actions.Done()
        match action:
            case actions.AddFinalizer(finalizers=finalizers) | actions.RemoveFinalizer(finalizers=finalizers):
                stored.finalizers = finalizers
                self._reap(name)
            case actions.CreateRevision():
                stored.revisions[action.revision] = RevisionView(
                    name=action.name,
                    revision=action.revision,
                    number=action.number,
                    template=action.template,
                    cluster=action.cluster,
                    application=action.application,
                    digest=None,
                )
            case actions.PinDigest(revision=revision, digest=digest):
                stored.revisions[revision] = dataclasses.replace(stored.revisions[revision], digest=digest)
            case actions.DeleteRevision(revision=revision):
                stored.revisions.pop(revision, None)
            case _:
                raise AssertionError(f"{action} is not an action on the object")
        stored.resource_version += 1
        return actions.Done()

    def _reap(self, name: str) -> None:
        stored = self.models[name]
        if stored.deleting and not stored.finalizers:
            del self.models[name]
            self.routes.pop(name, None)  # the garbage collector: the object owned it
            self.serve_queued = True

    def _prove(self, name: str, revision: str, contract_of: str | None) -> actions.Outcome:
        gateway = self.gateways[0]
        routed = name in gateway.routes and revision in json.loads(gateway.routes[name]).get("revisions", {})
        if not routed or not self.running(name, revision):
            return actions.ProofUnavailable(revision=revision, message="503 from the gateway")
        application = self.applications[names.serve_application(NAMESPACE, name, revision)]
        if "/wrong" in application.uri:
            return actions.NotProved(revision=revision, message="500: the model raised")
        changes: tuple[str, ...] = ()
        if contract_of is not None:
            if not self.running(name, contract_of):
                return actions.ProofUnavailable(revision=revision, message="503 from the gateway")
            before = self.applications[names.serve_application(NAMESPACE, name, contract_of)]
            changes = differences(signature_of(before.uri), signature_of(application.uri))
        return actions.Proved(revision=revision, digest=digest_of(application.uri), signature_changes=changes)

    def pass_ray(
        self,
        fault: Fault = Fault.NONE,
        meanwhile: Callable[[], object] = nothing,
        cluster: str = names.DEFAULT_CLUSTER,
    ) -> ServeDecision:
        """One pass of a Ray cluster's key. ``meanwhile`` happens after its reads: it puts what was wished before."""
        self.steps += 1
        self.serve_queued = False
        fault = Fault.REFUSED if self.puts_are_refused and fault is Fault.NONE else fault
        ray = self.clusters[cluster]
        models = tuple(
            serve_config.KeptModel(view=self.view(name), revisions=tuple(stored.revisions.values()))
            for name, stored in self.models.items()
        )
        wanted = serve_config.compose(RayKey(NAMESPACE, cluster), models, is_placement=cluster == self.placement)
        evidence = ray.evidence(self.now, is_unread=fault is Fault.RAY_UNREAD, is_empty=fault is Fault.RAY_EMPTY)
        asked = self._asked()
        decision = serve_plan.decide(wanted, RayObserved(namespace=NAMESPACE, evidence=evidence), self.bounds)
        is_put = isinstance(decision, Put)
        consistency.hold(not (is_put and isinstance(evidence, Unknown)), f"puts while Ray is unread: {decision}")
        meanwhile()
        if fault in (Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE):
            ray.forget()
        self._note_ray_write(cluster, decision, fault)
        if isinstance(decision, Put) and fault not in (Fault.CRASH_BEFORE_WRITE, Fault.REFUSED):
            self.writes.append(Written(kind="Put", what=str(decision)))
            ray.put(decision.body, lambda: self._promised(asked))
        return decision

    def _note_ray_write(self, cluster: str, decision: ServeDecision, fault: Fault) -> None:
        """The process remembers what became of its last pass over a cluster."""
        if fault in (Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE):
            self.ray_write.clear()
            return
        match decision:
            case Put() if fault is Fault.REFUSED:
                kind, message = RayWriteKind.REFUSED, "400: a neighbour's application"
            case Put():
                kind, message = RayWriteKind.PUT, ""
            case Hold(reason=reason):
                kind, message = RayWriteKind.HELD, reason
            case _:
                kind, message = RayWriteKind.KEPT, ""
        self.ray_write[cluster] = RayWrite(kind=kind, message=message, since=self.now)

    def pass_every_ray(self) -> None:
        for cluster in self.clusters:
            self.pass_ray(cluster=cluster)

    def _asked(self) -> dict[str, int]:
        return {name: stored.spec.get("scaling", {}).get("replicas", 1) for name, stored in self.models.items()}

    def _promised(self, asked: Mapping[str, int]) -> dict[str, int]:
        """``asked`` are the models' replicas as they were read: who asked for fewer, if only then, has no more."""
        now: dict[str, int] = self._asked()
        promised: dict[str, int] = {}
        for gateway in self.gateways:
            for model, text in gateway.routes.items():
                replicas = min(asked.get(model, 0), now.get(model, 0))
                weights = RouteText(text=text).weights()
                for revision in asked_by(text):
                    name = names.serve_application(NAMESPACE, model, revision)
                    weight = weights.get(revision, 0)
                    promised[name] = max(promised.get(name, 0), self._promise(model, replicas, weight))
        return promised

    def _is_overdue(self, model: str) -> bool:
        """Whether its deletion has waited for a gateway for long enough."""
        stored = self.models[model]
        waited = stored.status.get("rollout", {}).get("progressSeconds", 0)
        return stored.deleting and waited >= consistency.DELETION_S - 10

    def _promise(self, model: str, replicas: int, weight: int) -> int:
        """All replicas, except in batches: there what its share needs of those that may not be missing."""
        if model not in self.models or self._is_overdue(model):
            return 0
        view = self.view(model)
        kept = tuple(self.models[model].revisions.values())
        desired = build.build(view, kept, self.bounds, cluster=self.placement)
        rollout = view.status.rollout
        if isinstance(desired, InvalidSpec) or rollout is None or rollout.stable_replicas is None:
            return replicas
        return weight * (min(replicas, desired.replicas) - desired.unavailable) // FULL_WEIGHT

    # Until it is quiet

    def settle(self, *, passes: int = 200, seconds: float = 1.0) -> int:
        """Runs passes and ticks without faults until a round changes nothing; the number of rounds it took."""
        quiet = 0
        self.measurements_are_away = False
        self.end_outages()
        for gateway in self.gateways:
            gateway.is_stuck = False
        for round_number in range(passes):
            before = self.fingerprint()
            for name in self.names():
                self.pass_model(name)
            self.pass_every_ray()
            self.tick(seconds)
            quiet = quiet + 1 if self.fingerprint() == before else 0
            if quiet == 3:
                self.be_patient()
            if quiet == 6:
                return round_number
        raise AssertionError(f"not quiet after {passes} rounds; last plan: {self.plans[-1] if self.plans else None}")

    def names(self) -> list[str]:
        """Every model that is there or left something: what a listing finds."""
        return sorted({*self.models, *self.routes, *(name for gateway in self.gateways for name in gateway.routes)})

    def be_patient(self, seconds: float = PATIENCE_S) -> None:
        """Time passes with the operator at work: what waits for a deadline gets it."""
        for _ in range(round(seconds / LOOK_S)):
            for name in self.names():
                self.pass_model(name)
            self.pass_every_ray()
            self.tick(LOOK_S)

    def fingerprint(self) -> str:
        """Everything but the clock."""
        models = {
            name: (m.spec, m.status, m.finalizers, sorted(m.revisions.items(), key=lambda item: item[0]))
            for name, m in sorted(self.models.items())
        }
        ray = [
            (c.name, c.session, c.serve_runs, sorted((n, repr(a)) for n, a in c.applications.items()))
            for c in self.clusters.values()
        ]
        return repr((models, self.routes, [g.routes for g in self.gateways], ray))


def asked_by(text: str) -> set[str]:
    """The revisions that unpinned requests come to."""
    route = RouteText(text=text)
    candidate = json.loads(text).get("candidate")
    return {*route.weights(), *({candidate} if candidate is not None and route.is_matched(candidate) else ())}
