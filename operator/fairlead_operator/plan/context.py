"""What every decider looks at: what is desired, the snapshot, and the questions that more than one of them asks."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from fairlead_operator.api.status import Request, Rollout
from fairlead_operator.state import unread
from fairlead_operator.state.actions import Action, NudgeServe, Plan, Wait
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.consequences import with_advice
from fairlead_operator.state.desired import Batch, Desired, SetWeight, Step
from fairlead_operator.state.gateways import MemberState
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.observed import Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.route import FULL_WEIGHT, GatewayView, RevisionLive, RouteEntry
from fairlead_operator.state.serve import ApplicationView, ServeView
from fairlead_operator.state.time import elapsed_s, whole_second
from fairlead_operator.state.workers import WorkerPods

CLOCK_TOLERANCE_S = 5.0
"""Clocks of two processes of the operator may differ by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    desired: Desired
    observed: Observed
    serving: Serving
    bounds: Bounds
    now: datetime.datetime

    # Plans

    def act(self, action: Action, reason: Reason, message: str) -> Plan:
        """Writes one thing outside; what the status remembers stays as it is."""
        return Plan(
            key=self.observed.key,
            action=action,
            serving=self.serving,
            reason=reason,
            message=message[:1].upper() + message[1:],
            requeue_after_s=self.bounds.poll_s,
        )

    def wait(self, reason: Reason, message: str, *, requeue_after_s: float | None = None) -> Plan:
        """Writes nothing outside; where a person has to act, the message says how."""
        plan = self.act(Wait(), reason, with_advice(reason, message, name=self.observed.key.name))
        return plan if requeue_after_s is None else replace(plan, requeue_after_s=requeue_after_s)

    def wait_unknown(self, reason: Reason, message: str) -> Plan:
        return self.wait(reason, message, requeue_after_s=self.bounds.unknown_s)

    def wait_for_gateways(self, message: str | None = None) -> Plan:
        """Waits until a gateway or route can be read; without a ``message`` it says which gateway can't."""
        message = message or self.observed.describe_unread_gateway(*MemberState)
        if message is None:
            return self.wait_unknown(Reason.GATEWAY_UNREACHABLE, "No gateway is running.")
        held_up = " The rollout waits until this is possible." if self.serving.candidate is not None else ""
        return self.wait_unknown(Reason.GATEWAY_UNREACHABLE, f"{message}{held_up}")

    def wait_for_ray(self, cluster: str, why: str) -> Plan:
        """Waits until a Ray cluster can be read."""
        return self.wait_unknown(Reason.RAY_UNREACHABLE, unread.describe_ray(cluster, why))

    def announce(self, serving: Serving, reason: Reason, message: str) -> Plan:
        """Writes only the status: the next pass takes the step that it announces."""
        return replace(self.act(Wait(), reason, message), serving=serving, requeue_after_s=0.0)

    # Ray

    def application(self, revision: str) -> ApplicationView | None:
        """The revision's application as it is desired, None while Ray has none, or another configuration of it."""
        wanted, serve = self.desired.revisions.get(revision), self.serve_of(revision)
        if wanted is None or wanted.application is None or not isinstance(serve, Known):
            return None
        view = serve.value.applications.get(wanted.application.name)
        return view if view is not None and wanted.application.is_deployed_as(view) else None

    def cluster_of(self, revision: str) -> str:
        """The Ray cluster that a revision runs on; one that isn't kept yet goes where new ones go."""
        wanted = self.desired.revisions.get(revision)
        return wanted.cluster if wanted is not None else self.desired.cluster

    def serve_of(self, revision: str) -> Known[ServeView] | Unknown:
        """What the Ray cluster of a revision runs."""
        return self.observed.serve_on(self.cluster_of(revision))

    def workers_of(self, revision: str) -> WorkerPods | None:
        """The worker pods of a revision's Ray cluster; None where nothing is known of them."""
        return self.observed.workers.get(self.cluster_of(revision))

    def nudge(self, revision: str, reason: Reason, message: str) -> Plan:
        """Has the Ray cluster of a revision looked at."""
        return self.act(NudgeServe(cluster=self.cluster_of(revision)), reason, message)

    @property
    def ray_sessions(self) -> dict[str, str]:
        """The lives of the Ray heads on which something of the model runs or will, of each one that could be read."""
        wanted = {self.cluster_of(revision) for revision in self.serving.active} | {self.desired.cluster}
        seen = {cluster: self.observed.serve_on(cluster) for cluster in sorted(wanted)}
        return {cluster: serve.value.session for cluster, serve in seen.items() if isinstance(serve, Known)}

    # The gateways

    @property
    def gateways(self) -> tuple[GatewayView, ...] | None:
        """The Ready ones; None while one of them could not be read."""
        return self.observed.gateways.value.ready if isinstance(self.observed.gateways, Known) else None

    @property
    def answering(self) -> tuple[GatewayView, ...]:
        """Those of the Ready ones that could be read."""
        return self.observed.gateways.value.answering if isinstance(self.observed.gateways, Known) else ()

    def live(self, gateway: GatewayView, revision: str) -> RevisionLive | None:
        route = gateway.routes.get(self.observed.key.name)
        return route.revisions.get(revision) if route is not None else None

    def has_entry(self, gateway: GatewayView, entry: RouteEntry) -> bool:
        """Whether the gateway has exactly this entry."""
        route = gateway.routes.get(self.observed.key.name)
        return route is not None and route.version == entry.version

    def fewest_up(self, revision: str) -> int | None:
        """Ready replicas of a revision as the gateway that sees the fewest of them; None while unknown."""
        return self.fewest_seen_up(revision) if self.gateways else None

    def fewest_seen_up(self, revision: str) -> int:
        """The same of the gateways that could be read; 0 where none could."""
        return min((live.up if (live := self.live(g, revision)) is not None else 0 for g in self.answering), default=0)

    def most_up(self, revision: str) -> int | None:
        """The same of the gateway that sees the most of them: 0 says that no gateway can reach any."""
        return self.most_seen_up(revision) if self.gateways else None

    def most_seen_up(self, revision: str) -> int | None:
        """The same of the gateways that could be read; None where none could."""
        ups = [live.up if (live := self.live(g, revision)) is not None else 0 for g in self.answering]
        return max(ups, default=None)

    def sessions(self, revision: str) -> int | None:
        """Requests in flight to a revision over all gateways, those that terminate too; None while unknown."""
        everyone = self.observed.gateways.value.everyone if isinstance(self.observed.gateways, Known) else None
        if everyone is None:
            return None
        return sum(live.sessions for g in everyone if (live := self.live(g, revision)) is not None)

    def is_seen_ready(self, revision: str) -> bool:
        """Positive evidence of at least one ready replica, from every gateway or from Ray."""
        application = self.application(revision)
        return bool(self.fewest_up(revision)) or (application is not None and application.running_replicas > 0)

    def is_running(self, revision: str) -> bool:
        """Whether Ray runs a replica of the revision, as it is configured now."""
        application = self.application(revision)
        return application is not None and application.running_replicas > 0

    def is_blamed_on_all(self, revision: str) -> bool:
        """Whether the other revision isn't ready either: then what is seen of this one is not its own fault."""
        other = self.serving.stable if revision != self.serving.stable else self.serving.candidate
        if other is None or other not in self.desired.revisions:
            return False
        return not self.is_running(other) or self.most_up(other) == 0

    # What people asked for

    @property
    def pending(self) -> Request | None:
        """The request that was not looked at yet."""
        request = self.observed.object.value.status.request if isinstance(self.observed.object, Known) else None
        handled = self.serving.handled
        return request if request is not None and (handled is None or handled.id != request.id) else None

    @property
    def rollback(self) -> str | None:
        """The revision that a person chose in place of the desired one."""
        chosen = self.serving.rollback
        return chosen.revision if chosen is not None and chosen.instead_of == self.desired.target else None

    @property
    def is_way_back(self) -> bool:
        return self.rollback is not None and self.rollback == self.serving.candidate

    # The rollout's steps

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the rollout; empty when there is no stable revision to share traffic with.

        A way back takes all traffic in one step, except by batches: these are what the cluster has room for.
        """
        if self.serving.stable is None:
            return ()
        if self.is_way_back and not isinstance(self.desired.steps[0], Batch):
            return (SetWeight(weight=FULL_WEIGHT),)
        return self.desired.steps

    def step_of(self, rollout: Rollout) -> Step | None:
        """The step that a rollout is at; None after the last one, while the candidate gets the rest of the traffic."""
        return self.steps[rollout.step] if rollout.step < len(self.steps) else None

    # The rollout's clock

    @property
    def second(self) -> datetime.datetime:
        return whole_second(self.now)

    def is_ahead(self, date: datetime.datetime) -> bool:
        """Whether a date lies in the future, as the clock was set back since."""
        return (date - self.now).total_seconds() > CLOCK_TOLERANCE_S

    def since_step_s(self, rollout: Rollout) -> float:
        return elapsed_s(rollout.step_started_at, self.now)

    def called(self, revision: str) -> str:
        """A revision as messages name it: its number and its hash."""
        wanted = self.desired.revisions.get(revision)
        return f"revision {wanted.number} ({revision})" if wanted is not None else f"revision {revision}"
