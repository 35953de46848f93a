"""A small model of Kubernetes, Ray Serve and the gateways, with state, on a virtual clock.

Passes of the real pure core are run against it; faults strike between any two of their steps. A URI says how a model
behaves: ``…/bad…`` can't be loaded, ``…/wrong…`` answers wrongly, ``…/slow…`` is never ready, ``…/wider…`` takes
another input, ``…/failing…`` fails every fifth request of clients, ``…/late…`` takes ten times as long,
``…/away…`` can't be reached, ``…/odd…`` says something else to every fourth request that it is shown,
``…/souring…`` is ``failing`` once it has all requests, all else is good.

Its parts: ``virtual_objects`` is the API server, ``virtual_ray`` Ray Serve, ``virtual_traffic`` gateways and clients,
``virtual_operator`` the passes; here are time, faults that last, and other namespaces.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from tests.support.virtual_drafts import Process
from tests.support.virtual_faults import Fault, Outage
from tests.support.virtual_objects import Clock
from tests.support.virtual_operator import Operated
from tests.support.virtual_ray import RayApplication, digest_of
from tests.support.virtual_traffic import Gateway

from fairlead_operator.api import names
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.directory import Unplaced
from fairlead_operator.state.reasons import Reason

__all__ = ["NAMESPACE", "Fault", "Gateway", "Outage", "RayApplication", "VirtualWorld", "digest_of"]

NAMESPACE = "default"
PATIENCE_S = 700
LOOK_S = 20


class VirtualWorld(Operated):
    """One namespace, and those ``beside`` it: they share the clock and the operator's process, and nothing else."""

    def __init__(
        self,
        *,
        bounds: Bounds | None = None,
        gateways: int = 2,
        clusters: Sequence[str] = (names.DEFAULT_CLUSTER,),
        namespace: str = NAMESPACE,
        beside: VirtualWorld | None = None,
        has_drafts: bool = False,
    ) -> None:
        """New revisions go to the first of the clusters, until ``placement`` is changed.

        With ``beside`` it joins the world of that one. With ``has_drafts`` the operator keeps statuses for a moment,
        as the real one does; without, each pass writes its own, so that a story can look at each.
        """
        super().__init__(
            namespace,
            clusters,
            gateways=gateways,
            clock=beside.clock if beside is not None else Clock(),
            bounds=bounds or Bounds(),
            process=beside.process if beside is not None else Process(has_drafts=has_drafts),
        )
        self.home = beside or self
        """The first namespace, which has the others beside it."""
        self.beside: list[VirtualWorld] = []
        self.sources_are_away = False
        self.missing: set[str] = set()
        """URIs at which there is nothing any more."""
        if beside is not None:
            beside.beside.append(self)

    @property
    def all(self) -> list[VirtualWorld]:
        """Every namespace; only the first one has all of them."""
        return [self, *self.beside]

    def namespaced(self, name: str) -> tuple[VirtualWorld, str]:
        """The world and the model of ``namespace/model`` or ``model``."""
        namespace, slash, model = name.rpartition("/")
        return next(world for world in self.all if not slash or world.namespace == namespace), model

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

    # Time

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes: Ray starts or stops replicas, gateways take routes, requests end."""
        self.steps += 1
        self.now += datetime.timedelta(seconds=seconds)
        for world in self.home.all:
            world.go_on()

    def go_on(self) -> None:
        """What happens by itself in one tick."""
        for cluster in self.clusters.values():
            cluster.tick(sources_are_away=self.sources_are_away, missing=self.missing)
        for gateway in self.gateways:
            if not gateway.is_stuck and not gateway.is_away:
                self.take_routes(gateway)
            self.send(gateway, self.load)
            self.release(gateway)
            gateway.sessions = {where: ticks - 1 for where, ticks in gateway.sessions.items() if ticks > 1}

    def advance(self, seconds: float) -> None:
        self.steps += 1
        self.now += datetime.timedelta(seconds=seconds)

    # Faults that last

    def begin(self, outage: Outage) -> None:
        self.steps += 1
        match outage:
            case Outage.RAY:
                for cluster in self.clusters.values():
                    cluster.is_away = True
            case Outage.GATEWAY | Outage.GATEWAYS:
                for gateway in self.gateways[: 1 if outage is Outage.GATEWAY else None]:
                    gateway.is_away = True
            case Outage.STORE:
                self.sources_are_away = True
            case Outage.PUTS:
                self.puts_are_refused = True
            case Outage.REACH:
                self.is_cut_off = True
            case Outage.CLASS | Outage.PLACE:
                self.take_place(outage)
            case Outage.RAY_STALE | Outage.GATEWAYS_STALE:
                self.hang(outage)

    def take_place(self, outage: Outage) -> None:
        """New revisions have no place: it isn't known, or is not up yet."""
        if outage is Outage.CLASS:
            self.unplaced = Unplaced(reason=Reason.NO_SERVING_CLASS, message="No ServingClass has spec.default: true.")
        else:
            self.clusters[self.placement].is_away = True
            self.awaited = f"the head of RayCluster {self.placement} is not ready yet."

    def end_outages(self) -> None:
        self.sources_are_away = self.puts_are_refused = self.is_cut_off = False
        self.unplaced, self.awaited = None, None
        for cluster in self.clusters.values():
            cluster.is_away = False
        for gateway in self.gateways:
            gateway.is_away = False
        self.held_ray, self.held_gateways = {}, None

    def end_faults(self) -> None:
        """Everything that was broken for a while is whole again, in every namespace."""
        for world in self.all:
            world.measurements_are_away, world.pruned = False, frozenset()
            world.end_outages()
            for gateway in world.gateways:
                gateway.is_stuck = False

    # Until it is quiet

    def settle(self, *, passes: int = 200, seconds: float = 1.0) -> int:
        """Runs passes and ticks without faults until a round changes nothing; the number of rounds it took."""
        quiet = 0
        self.end_faults()
        for round_number in range(passes):
            before = self.fingerprint()
            self.look(seconds)
            quiet = quiet + 1 if self.fingerprint() == before else 0
            if quiet == 3:
                self.be_patient()
            if quiet == 6:
                return round_number
        plans = {world.namespace: world.plans[-1] for world in self.all if world.plans}
        raise AssertionError(f"not quiet after {passes} rounds; last plans: {plans}")

    def look(self, seconds: float = 1.0) -> None:
        """One pass over everything in every namespace, and a tick."""
        for world in self.all:
            for name in world.names():
                world.pass_model(name)
            world.pass_every_ray()
        self.tick(seconds)

    def names(self) -> list[str]:
        """Every model that is there or left something: what a listing finds."""
        return sorted({*self.models, *self.routes, *(name for gateway in self.gateways for name in gateway.routes)})

    def be_patient(self, seconds: float = PATIENCE_S) -> None:
        """Time passes with the operator at work: what waits for a deadline gets it."""
        for _ in range(round(seconds / LOOK_S)):
            self.look(LOOK_S)

    def fingerprint(self) -> str:
        """Everything but the clock."""
        return "\n".join(world.fingerprint_of_namespace() for world in self.all)

    def fingerprint_of_namespace(self) -> str:
        """The same of this one alone."""
        models = {
            name: (m.spec, m.status, m.finalizers, sorted(m.revisions.items(), key=lambda item: item[0]))
            for name, m in sorted(self.models.items())
        }
        ray = [
            (c.name, c.session, c.serve_runs, sorted((n, repr(a)) for n, a in c.applications.items()))
            for c in self.clusters.values()
        ]
        return repr((models, self.routes, [g.routes for g in self.gateways], ray))
