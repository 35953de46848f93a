"""Which revisions run, and with how many replicas: a pure function of spec and status, for both kinds of key.

With automatic scaling Ray decides the number, between bounds from here. A rollout then works with the number that the
stable revision had when it began, or that the load asked for since (``plan.rollout.growth``): it stays the least of
every revision that takes traffic or may take it back.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import ModelDeploymentStatus, Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.desired import Autoscaling, ScaleToZero
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, RevisionView
from fairlead_operator.state.rollout import Serving


def autoscaling_of(spec: ModelDeploymentSpec) -> Autoscaling | None:
    """None where the number is fixed, and where ``replicas: 0`` stops the model."""
    scaling = spec.scaling
    if scaling.min_replicas is None or scaling.max_replicas is None or scaling.target is None or scaling.replicas == 0:
        return None
    return Autoscaling(
        # The operator alone takes the last replica away, once no gateway has had a request for it.
        least=min(scaling.max_replicas, max(scaling.min_replicas, scaling.replicas, 1)),
        most=scaling.max_replicas,
        ongoing_requests=scaling.target.ongoing_requests,
        up_s=scaling.scale_up.stabilization_seconds,
        down_s=scaling.scale_down.stabilization_seconds,
    )


def least_field_of(spec: ModelDeploymentSpec) -> str:
    """The field whose value is the fixed number, or the least of automatic scaling."""
    scaling, automatic = spec.scaling, autoscaling_of(spec)
    if automatic is not None and automatic.least == scaling.min_replicas:
        return "spec.scaling.minReplicas"
    is_limited = automatic is not None and automatic.least < scaling.replicas
    return "spec.scaling.maxReplicas" if is_limited else "spec.scaling.replicas"


def scale_to_zero_of(spec: ModelDeploymentSpec) -> ScaleToZero | None:
    """None where the model always has a replica.

    ``replicas`` is 1 where nobody set it, so only a larger number asks for replicas.
    """
    scaling = spec.scaling
    if autoscaling_of(spec) is None or scaling.min_replicas != 0:
        return None
    return ScaleToZero(
        idle_s=scaling.scale_to_zero.idle_seconds,
        hold_s=scaling.scale_to_zero.hold_seconds,
        keeps_replicas=scaling.replicas > 1,
    )


def replicas_of(spec: ModelDeploymentSpec, status: ModelDeploymentStatus) -> int:
    """The number that a rollout works with: the fixed one, or what the rollout remembers of the load."""
    automatic = autoscaling_of(spec)
    if automatic is None:
        return spec.scaling.replicas
    known = status.rollout.scaled_replicas if status.rollout is not None else None
    if known is None and status.stable_revision is not None:
        known = _last_wanted(status, status.stable_revision)
    return automatic.bounded(known if known is not None else automatic.least)


def wanted(view: ModelDeploymentView, revision: RevisionView) -> Autoscaling | int | None:
    """The replicas that a kept revision should have now, a number or bounds; None where it should not run at all.

    A spec that can't be read changes nothing: the number last written to the status stands.
    """
    serving = view.serving
    if revision.revision not in serving.running or is_unreadable(view, revision):
        return None
    if serving.at_zero_since is not None and revision.revision == serving.stable:
        return None
    automatic = autoscaling_of(view.spec) if isinstance(view.spec, ModelDeploymentSpec) else None
    count = _count(view, revision, automatic)
    count = count if keeps_more(view, revision) else _limited(serving, revision, count)
    if count == 0:
        return None
    if not revision.template.is_autoscaled:
        return count
    if automatic is None:
        # It runs with the policy: taking that away would restart its replicas.
        return Autoscaling(least=count, most=count, ongoing_requests=1, up_s=0, down_s=0)
    return replace(automatic, least=count, most=count if _is_exact(view, revision) else max(count, automatic.most))


def is_unreadable(view: ModelDeploymentView, revision: RevisionView) -> bool:
    """Whether the bounds of its scaling are in a spec that can't be read: then what Ray has stands."""
    return revision.template.is_autoscaled and isinstance(view.spec, InvalidSpec)


def keeps_more(view: ModelDeploymentView, revision: RevisionView) -> bool:
    """Whether it serves, and lost its bounds: it keeps what it has until a revision with a fixed number is stable."""
    return (
        revision.template.is_autoscaled
        and revision.revision == view.serving.stable
        and isinstance(view.spec, ModelDeploymentSpec)
        and autoscaling_of(view.spec) is None
    )


def _count(view: ModelDeploymentView, revision: RevisionView, automatic: Autoscaling | None) -> int:
    """The number before a step of a rollout limits it."""
    if isinstance(view.spec, InvalidSpec):
        return _last_wanted(view.status, revision.revision) or 1
    if automatic is None and revision.template.is_autoscaled and view.spec.scaling.replicas > 0:
        return max(view.spec.scaling.replicas, _last_wanted(view.status, revision.revision) or 0)
    if automatic is None or view.serving.rollout is not None:
        return replicas_of(view.spec, view.status)
    if revision.template.is_autoscaled:
        return automatic.least
    return automatic.bounded(_last_wanted(view.status, revision.revision) or 1)


def _last_wanted(status: ModelDeploymentStatus, revision: str) -> int | None:
    return next((known.wanted_replicas for known in status.revisions if known.name == revision), None)


def _limited(serving: Serving, revision: RevisionView, count: int) -> int:
    rollout = serving.rollout
    if rollout is not None and rollout.replicas is not None and revision.revision == _moving(serving):
        count = min(count, rollout.replicas)
    if rollout is not None and rollout.stable_replicas is not None and revision.revision == serving.stable:
        count = min(count, rollout.stable_replicas)
    if revision.content_digest is None and revision.revision != serving.stable:
        return min(count, 1)
    return count


def _is_exact(view: ModelDeploymentView, revision: RevisionView) -> bool:
    """Whether the load may add nothing: content that is not known yet, or a revision that gives replicas away."""
    serving = view.serving
    if revision.content_digest is None and revision.revision != serving.stable:
        return True
    rollout = serving.rollout
    if rollout is None:
        return False
    if revision.revision == serving.stable:
        return _gives_way(view, rollout)
    return _is_given_up(rollout, serving) and rollout.replicas is not None


def _gives_way(view: ModelDeploymentView, rollout: Rollout) -> bool:
    """Whether the stable revision makes room for a candidate, and the load does not need more than both have.

    The candidate's batch has what its share needed as the rollout began. Once its load adds to that, the load has
    grown, and the stable revision has to follow it: a rollout may pause for hours. After the promotion there is no
    candidate, and nothing to make room for.
    """
    candidate = view.serving.candidate
    if candidate is None or rollout.stable_replicas is None or rollout.phase is Phase.RESTORING:
        return False
    if isinstance(view.spec, ModelDeploymentSpec) and rollout.stable_replicas >= replicas_of(view.spec, view.status):
        return False
    return (_last_wanted(view.status, candidate) or 0) <= (rollout.replicas or 0)


def _is_given_up(rollout: Rollout, serving: Serving) -> bool:
    return rollout.phase is Phase.RESTORING or serving.candidate is None


def _moving(serving: Serving) -> str | None:
    """The candidate; once it is given up it leaves with what it had."""
    return serving.candidate if serving.candidate is not None else serving.leaving
