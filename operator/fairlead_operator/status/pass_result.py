"""One pass as the status sees it: what was wished, seen, decided and done."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from fairlead_operator.api import names
from fairlead_operator.state.actions import Outcome, Plan, Wait
from fairlead_operator.state.desired import Desired
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Quarantine, Serving
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
    def wish(self) -> Desired | None:
        return self.desired if isinstance(self.desired, Desired) else None

    @property
    def failed(self) -> Quarantine | None:
        """The wished revision's entry in the quarantine."""
        return self.serving.quarantined(self.wish.target) if self.wish is not None else None

    @property
    def is_at_rest(self) -> bool:
        """Whether the pass found nothing to do and nothing to wait for; a warm revision's time ends by itself."""
        if self.serving.rollout is not None and self.plan.reason not in (*HELD, Reason.SUSPENDED, Reason.WATCHED):
            return False
        return self.plan.reason in _REST or (
            self.plan.reason is Reason.SUSPENDED and isinstance(self.plan.action, Wait)
        )

    def application(self, revision: str) -> ApplicationView | None:
        """What Ray shows under the revision's name; None also while Ray can't be read."""
        serve = self.serve_of(revision)
        name = names.serve_application(self.observed.key.namespace, self.observed.key.name, revision)
        return serve.value.applications.get(name) if isinstance(serve, Known) else None

    def serve_of(self, revision: str) -> Known[ServeView] | Unknown:
        """What the Ray cluster of a revision runs."""
        wanted = self.wish.revisions.get(revision) if self.wish is not None else None
        return self.observed.serve_on(wanted.cluster if wanted is not None else self.observed.placement)

    def is_being_changed(self, revision: str) -> bool:
        """Whether what Ray has of it is not yet what is wanted, by our own doing: scaling, or a start from zero."""
        wanted = self.wish.revisions.get(revision) if self.wish is not None else None
        if wanted is None or wanted.application is None:
            return False
        view = self.application(revision)
        if view is not None:
            return not wanted.application.is_deployed_as(view.config) and view.running_replicas > 0
        route = self.observed.route
        return not isinstance(route, Known) or revision not in route.value.weights()

    def wanted_replicas(self, revision: str | None) -> int:
        wanted = self.wish.revisions.get(revision) if self.wish is not None and revision is not None else None
        return wanted.application.replicas if wanted is not None and wanted.application is not None else 0

    def called(self, revision: str) -> str:
        wanted = self.wish.revisions.get(revision) if self.wish is not None else None
        return f"revision {wanted.number} ({revision})" if wanted is not None else f"revision {revision}"


HELD = frozenset({Reason.PAUSED, Reason.SIGNATURE_CHANGED, Reason.ANALYSIS_INCONCLUSIVE})
"""A candidate rests until a person lets it go on."""

_REST = frozenset(
    {Reason.SERVING, Reason.HISTORY_TRIMMED, Reason.SCALED_TO_ZERO, Reason.NOT_SERVING, Reason.WATCHED, *HELD}
)
