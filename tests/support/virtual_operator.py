"""The operator in the virtual world: what a pass sees, the real pure core that decides, and what its writes do."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tests.support import client_oracle, consistency
from tests.support.virtual_drafts import Drafting, Process
from tests.support.virtual_evaluations import evaluation_of
from tests.support.virtual_faults import Fault, Outage
from tests.support.virtual_objects import Clock, Written
from tests.support.virtual_ray import EPOCH, digest_of
from tests.support.virtual_traffic import asked_by

from fairlead_operator import drafts
from fairlead_operator.api import names
from fairlead_operator.desired import build, serve_config
from fairlead_operator.effects import execute
from fairlead_operator.observe import snapshot
from fairlead_operator.plan import planner
from fairlead_operator.plan import serve_config as serve_plan
from fairlead_operator.state import actions, analysis, question
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.gateways import Gateways
from fairlead_operator.state.keys import ModelKey, RayKey
from fairlead_operator.state.knowledge import ABSENT, Absent, Known, Unknown
from fairlead_operator.state.measurements import Readings
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed, RouteWrites
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT, RetiredRoute, RouteText
from fairlead_operator.state.serve import (
    Hold,
    Put,
    RayEvidence,
    RayObserved,
    RayWrite,
    RayWriteKind,
    ServeDecision,
    ServeView,
)
from fairlead_operator.state.signature import Signature, Tensor, differences
from fairlead_operator.state.workers import WorkerLimits, WorkerPods
from fairlead_operator.status import summary

MAX_AGE_S = 30.0
"""An older answer of a source says nothing: ``observe/source.py``."""
T = TypeVar("T")
CRASHES = (Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE)


def nothing() -> None:
    """What happens between two steps of a pass, by default."""


@dataclass(frozen=True)
class Held(Generic[T]):
    """A source hangs: what was read last, and when."""

    since: datetime.datetime
    value: T


def signature_of(uri: str) -> Signature:
    shape = (-1, 8) if "/wider" in uri else (-1, 4)
    return Signature(
        inputs={"x": Tensor(datatype="FP32", shape=shape)}, outputs={"y": Tensor(datatype="FP32", shape=(-1, 3))}
    )


class Operated(Drafting):
    """Passes over the models and the Ray clusters of one namespace."""

    def __init__(
        self, namespace: str, clusters: Sequence[str], *, gateways: int, clock: Clock, bounds: Bounds, process: Process
    ) -> None:
        super().__init__(namespace, clusters, gateways=gateways, clock=clock, process=process)
        self.bounds = bounds
        self.limits: WorkerLimits | None = None
        """What the workers of the models' class can hold."""
        self.workers: dict[str, WorkerPods] = {}
        """The worker pods by Ray cluster. A cluster whose pods are not known is left out."""
        process.clusters += self.clusters.values()
        self.route_writes = self.noted_writes = RouteWrites.POSSIBLE
        """What the API server lets the operator write, and what it has noticed of it."""
        self.puts_are_refused = False
        self.measurements_are_away = False
        self.held_ray: dict[str, Held[Known[ServeView] | Unknown]] = {}
        """By cluster, while it hangs."""
        self.held_gateways: Held[Gateways] | None = None
        self.answers: dict[str, Known[float | None] | Unknown] = {}
        self.plans: list[actions.Plan] = []

    # What the operator sees

    def observe(self, name: str, fault: Fault = Fault.NONE, draft: drafts.Draft | None = None) -> Observed:
        """What a pass sees; the object as the draft has it, if there is one."""
        stored = self.models.get(name)
        view = (draft.view if draft is not None else self.view(name)) if stored is not None else None
        return Observed(
            key=ModelKey(self.namespace, name),
            observed_at=self.now,
            object=Known(view) if view is not None else ABSENT,
            revisions=tuple(stored.revisions.values()) if stored is not None else (),
            serve=self._serve(fault),
            placement=self.placement,
            is_placed_by_class=self.is_placed_by_class,
            unplaced=self.unplaced,
            awaited=self.awaited,
            limits=self.limits,
            workers=self.workers,
            route=self._route(name, fault),
            gateways=Known(self._gateways(fault)),
            capacity={} if fault is Fault.RAY_UNREAD else {name: c.room() for name, c in self.clusters.items()},
            measured=self._measured(name, view, fault) if view is not None else None,
            ray_write=self._ray_writes(),
            route_writes=self.noted_writes,
            dropped_fields=(*sorted(self.pruned), *self.process.dropped.get(ModelKey(self.namespace, name), ())),
        )

    def _placement_of(self, name: str) -> str:
        stored = self.models.get(name)
        if self.unplaced is None or stored is None:
            return self.placement
        return snapshot.recorded_cluster(self.view(name), tuple(stored.revisions.values()))

    def _forbids_route(self, name: str) -> bool:
        return self.route_writes is RouteWrites.FORBIDDEN or (
            self.route_writes is RouteWrites.ENDING and name not in self.routes
        )

    def _check_available(self, name: str, status: Mapping[str, Any]) -> None:
        """What a hanging gateway said last is believed for a while; then nothing is known."""
        if self.held_gateways is None:
            client_oracle.check_available(self, name, status)
        elif isinstance(self._last(self.held_gateways), Unknown):
            available = client_oracle.condition(status, "Available")
            consistency.hold(available["status"] == "Unknown", f"{name}: the gateways hang: {available}")

    def _ray_writes(self) -> dict[str, RayWrite]:
        ended = self.process.ray_write.items()
        return {key.cluster: write for key, write in ended if key.namespace == self.namespace}

    def _measured(self, name: str, view: ModelDeploymentView, fault: Fault) -> analysis.Measured | None:
        asked = question.find_question(view, self.now)
        if asked is None:
            return None
        answers = {metric: self.answers.get(metric, Known(None)) for metric in asked.queries}
        is_away = fault is Fault.MEASUREMENTS_UNREAD or self.measurements_are_away
        unread = {gateway.id: "timed out" for gateway in self.gateways if is_away} or self._unread(fault)
        read = tuple(self._reading(gateway, name) for gateway in self.gateways if gateway.id not in unread)
        return analysis.Measured(gateways=Known(Readings(read=read, unread=unread)), answers=answers)

    def _serve(self, fault: Fault) -> Mapping[str, Known[ServeView] | Unknown]:
        is_unread, is_empty = fault is Fault.RAY_UNREAD, fault is Fault.RAY_EMPTY
        return {
            name: self._last(self.held_ray[name])
            if name in self.held_ray
            else cluster.seen(is_unread=is_unread, is_empty=is_empty)
            for name, cluster in self.clusters.items()
        }

    def hang(self, outage: Outage) -> None:
        """A source answers no more. Its last answer counts for a while, one of Ray only until the operator writes."""
        if outage is Outage.RAY_STALE:
            self.held_ray = {name: Held(since=self.now, value=view) for name, view in self._serve(Fault.NONE).items()}
        else:
            self.held_gateways = Held(since=self.now, value=self._gateways(Fault.NONE))

    def _last(self, held: Held[T]) -> T | Unknown:
        is_old = (self.now - held.since).total_seconds() > MAX_AGE_S
        return Unknown(f"no answer for {MAX_AGE_S:.0f} s") if is_old else held.value

    def _route(self, name: str, fault: Fault) -> Any:
        if fault is Fault.ROUTE_UNREAD:
            return Unknown("the API server timed out")
        return Known(RouteText(text=self.routes[name])) if name in self.routes else ABSENT

    def _gateways(self, fault: Fault) -> Gateways:
        if self.held_gateways is None:
            return self._read_gateways(set(self._unread(fault)))
        if isinstance(last := self._last(self.held_gateways), Unknown):
            return self._read_gateways({gateway.id for gateway in self.gateways})
        return last

    def _unread(self, fault: Fault) -> dict[str, str]:
        """Why the gateways can't be read that can't be."""
        struck = self.gateways[:1] if fault is Fault.GATEWAY_UNREAD else []
        return {gateway.id: "timed out" for gateway in self.gateways if gateway.is_away or gateway in struck}

    # What the operator does

    def pass_model(
        self, name: str, fault: Fault = Fault.NONE, meanwhile: Callable[[], object] = nothing
    ) -> actions.Plan:
        """One pass, as ``reconcile`` runs it. ``meanwhile`` happens after its reads: it decides by what was."""
        self.steps += 1
        draft = self._take_draft(name)
        observed = self.observe(name, fault, draft)
        view = observed.object.value if isinstance(observed.object, Known) else None
        kept, at = observed.revisions, observed.placement
        desired = build.build(view, kept, self.bounds, cluster=at) if view is not None else ABSENT
        plan = planner.make(desired, observed, self.bounds, self.now)
        consistency.check_plan(observed, plan)
        self.plans.append(plan)
        now, version = self.now, self._version(name)
        meanwhile()
        is_late = self._version(name) != version
        if draft is not None and execute.is_announced(plan.action):
            if is_late or not self._announce(name, draft, fault):
                return plan
            draft, view = None, self.view(name)
        outcome = self._execute(plan, name, fault, is_late=is_late)
        if fault in CRASHES:
            self.process.crash()
        if view is None or isinstance(desired, Absent) or outcome is None:
            return plan
        if is_late or fault in (Fault.CRASH_AFTER_WRITE, Fault.STATUS_CONFLICT):
            return plan
        update = summary.summarise(desired, view, observed, plan=plan, outcome=outcome, now=now)
        if self.now == now and fault is Fault.NONE and meanwhile is nothing:
            self._check_available(name, update.status)
        self._follow(name, draft, view, update, plan, outcome, fault)
        return plan

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

    def _prove(self, name: str, revision: str, contract_of: str | None) -> actions.Outcome:
        gateway = self.gateways[0]
        routed = name in gateway.routes and revision in json.loads(gateway.routes[name]).get("revisions", {})
        if not routed or not self.running(name, revision):
            return actions.ProofUnavailable(revision=revision, message="503 from the gateway")
        application = self.applications[names.serve_application(self.namespace, name, revision)]
        if "/wrong" in application.uri:
            return actions.NotProved(revision=revision, message="500: the model raised")
        changes: tuple[str, ...] = ()
        if contract_of is not None:
            if not self.running(name, contract_of):
                return actions.ProofUnavailable(revision=revision, message="503 from the gateway")
            before = self.applications[names.serve_application(self.namespace, name, contract_of)]
            changes = differences(signature_of(before.uri), signature_of(application.uri))
        return actions.Proved(
            revision=revision,
            digest=digest_of(application.uri),
            signature_changes=changes,
            shares_calls="/ranking" not in application.uri,
            evaluation=evaluation_of(application.uri),
        )

    def pass_ray(
        self,
        fault: Fault = Fault.NONE,
        meanwhile: Callable[[], object] = nothing,
        cluster: str = names.DEFAULT_CLUSTER,
    ) -> ServeDecision:
        """One pass of a Ray cluster's key. ``meanwhile`` happens after its reads: the PUT has the state before it."""
        self.steps += 1
        self.serve_queued = False
        fault = Fault.REFUSED if self.puts_are_refused and fault is Fault.NONE else fault
        models = tuple(
            serve_config.KeptModel(
                view=self.view(name), revisions=tuple(stored.revisions.values()), routed=self.observe(name).routed
            )
            for name, stored in self.models.items()
        )
        wanted = serve_config.compose(RayKey(self.namespace, cluster), models, is_placement=cluster == self.placement)
        evidence = self._evidence(cluster, fault)
        asked = self._asked()
        decision = serve_plan.decide(wanted, RayObserved(namespace=self.namespace, evidence=evidence), self.bounds)
        is_put = isinstance(decision, Put)
        consistency.hold(not (is_put and isinstance(evidence, Unknown)), f"puts while Ray is unread: {decision}")
        meanwhile()
        if fault in CRASHES:
            self.process.crash()
        self._note_ray_write(cluster, decision, fault)
        if isinstance(decision, Put) and fault not in (Fault.CRASH_BEFORE_WRITE, Fault.REFUSED):
            self.writes.append(Written(kind="Put", what=str(decision)))
            if cluster in self.held_ray:
                self.held_ray[cluster] = Held(since=EPOCH, value=Unknown("no answer since the last write"))
            self.clusters[cluster].put(decision.body, lambda: self._promised(asked))
        return decision

    def _evidence(self, cluster: str, fault: Fault) -> RayEvidence:
        if (held := self.held_ray.get(cluster)) is not None:
            last = self._last(held)
            return last if isinstance(last, Known) else Unknown(last.reason)
        is_unread, is_empty = fault is Fault.RAY_UNREAD, fault is Fault.RAY_EMPTY
        return self.clusters[cluster].evidence(self.now, is_unread=is_unread, is_empty=is_empty)

    def _note_ray_write(self, cluster: str, decision: ServeDecision, fault: Fault) -> None:
        """The process remembers what became of its last pass over a cluster."""
        if fault in CRASHES:
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
        self.process.ray_write[RayKey(self.namespace, cluster)] = RayWrite(kind=kind, message=message, since=self.now)

    def pass_every_ray(self) -> None:
        for cluster in self.clusters:
            self.pass_ray(cluster=cluster)

    def _asked(self) -> dict[str, int]:
        return {name: _least(stored.spec.get("scaling", {})) for name, stored in self.models.items()}

    def _promised(self, asked: Mapping[str, int]) -> dict[str, int]:
        """``asked`` are the models' replicas as they were read: who asked for fewer, if only then, has no more."""
        now: dict[str, int] = self._asked()
        promised: dict[str, int] = {}
        for gateway in self.gateways:
            for model, text in gateway.routes.items():
                replicas = min(asked.get(model, 0), now.get(model, 0))
                weights = RouteText(text=text).weights()
                for revision in asked_by(text):
                    if self._is_held(model, revision, text):
                        continue
                    name = names.serve_application(self.namespace, model, revision)
                    weight = weights.get(revision, 0)
                    promised[name] = max(promised.get(name, 0), self._promise(model, replicas, weight))
        return promised

    def _is_held(self, model: str, revision: str, text: str) -> bool:
        """Whether the gateway holds the requests of a model that is at zero."""
        is_at_zero = model in self.models and "atZeroSince" in self.models[model].status
        return is_at_zero and "hold" in json.loads(text) and revision == RouteText(text=text).stable

    def _is_overdue(self, model: str) -> bool:
        """Whether its deletion has waited for a gateway for long enough."""
        stored = self.models[model]
        waited = stored.status.get("rollout", {}).get("progressSeconds", 0)
        return stored.deleting and waited >= consistency.DELETION_S - 10

    def _promise(self, model: str, replicas: int, weight: int) -> int:
        """All replicas, except in batches: there what its share needs of those that may not be missing.

        In batches no more are promised than run: those of a scale-up amid a rollout come with its end.
        """
        if model not in self.models or self._is_overdue(model):
            return 0
        view = self.view(model)
        kept = tuple(self.models[model].revisions.values())
        desired = build.build(view, kept, self.bounds, cluster=self.placement)
        rollout = view.status.rollout
        if isinstance(desired, InvalidSpec) or rollout is None or rollout.stable_replicas is None:
            return replicas
        promised = min(replicas, desired.replicas, self._count_replicas(model))
        return weight * (promised - desired.unavailable) // FULL_WEIGHT

    def _count_replicas(self, model: str) -> int:
        """Of all revisions of a model, on every Ray cluster, as Ray was asked for them."""
        applications = (pair for ray in self.clusters.values() for pair in ray.applications.items())
        return sum(
            consistency.replicas_of(application.config)
            for name, application in applications
            if names.is_application_of(name, self.namespace, model) and not application.deleting
        )


def _least(scaling: Mapping[str, int]) -> int:
    replicas = scaling.get("replicas", 1)
    return min(scaling.get("maxReplicas", replicas), max(replicas, scaling.get("minReplicas", 1))) if replicas else 0
