"""One pass as the status sees it: what was desired, observed, decided and done."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from fairlead_operator.api import names
from fairlead_operator.api.status import Quarantine
from fairlead_operator.state.actions import Outcome, Plan, Wait
from fairlead_operator.state.consequences import Consequence, Next, consequence_of
from fairlead_operator.state.desired import Desired
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.serve import ApplicationView, ServeView


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """``serving`` is what the status shall remember: the plan's, with the outcome folded in."""

    desired: Desired | InvalidSpec
    view: ModelDeploymentView
    observed: Observed
    plan: Plan
    outcome: Outcome
    serving: Serving
    now: datetime.datetime

    @property
    def desired_if_valid(self) -> Desired | None:
        return self.desired if isinstance(self.desired, Desired) else None

    @property
    def failed(self) -> Quarantine | None:
        """The desired revision's entry in the quarantine."""
        return self.serving.quarantined(self.desired_if_valid.target) if self.desired_if_valid is not None else None

    @property
    def is_at_rest(self) -> bool:
        """Whether the pass found nothing to do and nothing to wait for; a warm revision's time ends by itself."""
        if self.plan.reason is Reason.SUSPENDED:
            return isinstance(self.plan.action, Wait)
        if self.consequence.is_paused or self.consequence.next is Next.TIME:
            return True
        return self.consequence.next is Next.NOBODY and self.serving.rollout is None

    @property
    def is_moving(self) -> bool:
        """Whether the operator works towards the spec."""
        return not self.is_at_rest and not self.consequence.is_stalled

    @property
    def consequence(self) -> Consequence:
        """What the reason of the pass means."""
        return consequence_of(self.plan.reason)

    def application(self, revision: str) -> ApplicationView | None:
        """What Ray shows under the revision's name; None also while Ray can't be read."""
        serve = self.serve_of(revision)
        name = names.serve_application(self.observed.key.namespace, self.observed.key.name, revision)
        return serve.value.applications.get(name) if isinstance(serve, Known) else None

    def serve_of(self, revision: str) -> Known[ServeView] | Unknown:
        """What the Ray cluster of a revision runs."""
        return self.observed.serve_on(self.cluster_of(revision))

    def cluster_of(self, revision: str) -> str:
        wanted = self.desired_if_valid.revisions.get(revision) if self.desired_if_valid is not None else None
        return wanted.cluster if wanted is not None else self.observed.placement

    def is_being_changed(self, revision: str) -> bool:
        """Whether what Ray has of it is not yet what is wanted, by our own doing: scaling, or a start from zero."""
        wanted = self.desired_if_valid.revisions.get(revision) if self.desired_if_valid is not None else None
        if wanted is None or wanted.application is None:
            return False
        view = self.application(revision)
        if view is not None:
            return not wanted.application.is_deployed_as(view) and view.running_replicas > 0
        route = self.observed.route
        return not isinstance(route, Known) or revision not in route.value.weights()

    def aimed_replicas(self, revision: str) -> int:
        """The number of replicas that should run: what Ray decided last, where it is Ray that decides."""
        wanted = self.desired_if_valid.revisions.get(revision) if self.desired_if_valid is not None else None
        if wanted is None or wanted.application is None:
            return 0
        application, view = wanted.application, self.application(revision)
        if isinstance(self.serve_of(revision), Unknown):
            aimed = next((row.wanted_replicas for row in self.view.status.revisions if row.name == revision), 0)
        else:
            aimed = view.target_replicas if view is not None else 0
        most = aimed if application.keeps_more else application.most
        return max(application.replicas, min(most, aimed))

    def wanted_replicas(self, revision: str | None) -> int:
        """The number of replicas that have to run: with automatic scaling, the least of them."""
        wanted = (
            self.desired_if_valid.revisions.get(revision)
            if self.desired_if_valid is not None and revision is not None
            else None
        )
        return wanted.application.replicas if wanted is not None and wanted.application is not None else 0

    def called(self, revision: str) -> str:
        wanted = self.desired_if_valid.revisions.get(revision) if self.desired_if_valid is not None else None
        return f"revision {wanted.number} ({revision})" if wanted is not None else f"revision {revision}"
