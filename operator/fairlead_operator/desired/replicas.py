"""Which revisions run, and with how many replicas: a pure function of spec and status, for both kinds of key."""

from __future__ import annotations

from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, RevisionView
from fairlead_operator.state.rollout import Serving


def wanted_replicas(view: ModelDeploymentView, revision: RevisionView) -> int:
    """Replicas that a kept revision should have now; 0 where it should not run at all.

    A spec that can't be read changes nothing: the number last written to the status stands.
    """
    serving = view.serving
    if revision.revision not in serving.running:
        return 0
    count = _desired_replicas(view, revision.revision)
    if serving.rollout is not None and serving.rollout.replicas is not None and revision.revision == _limited(serving):
        count = min(count, serving.rollout.replicas)
    if (
        serving.rollout is not None
        and serving.rollout.stable_replicas is not None
        and revision.revision == serving.stable
    ):
        count = min(count, serving.rollout.stable_replicas)
    if revision.content_digest is None and revision.revision != serving.stable:
        return min(count, 1)
    return count


def _limited(serving: Serving) -> str | None:
    """The candidate; once it is given up it leaves with what it had."""
    return serving.candidate if serving.candidate is not None else serving.leaving


def _desired_replicas(view: ModelDeploymentView, revision: str) -> int:
    match view.spec:
        case ModelDeploymentSpec() as spec:
            return spec.scaling.replicas
        case InvalidSpec():
            return next((known.wanted_replicas for known in view.status.revisions if known.name == revision), 1)
