"""What one object asks for, with everything derived from it."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.desired import application, batches, routes, scaling, serve_config, strategy
from fairlead_operator.desired import revision as revisions_of
from fairlead_operator.state import analysis_spec
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.desired import Desired, WantedRevision
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, RevisionView


def build(
    view: ModelDeploymentView, kept: tuple[RevisionView, ...], bounds: Bounds, *, cluster: str = names.DEFAULT_CLUSTER
) -> Desired | InvalidSpec:
    """What the object asks for. A spec that can't be read asks for nothing, and changes nothing.

    ``cluster`` is the Ray cluster where new revisions go.
    """
    match view.spec:
        case InvalidSpec() as invalid:
            return invalid
        case ModelDeploymentSpec() as spec:
            return _build(view, spec, kept, bounds, cluster)


def _build(
    view: ModelDeploymentView, spec: ModelDeploymentSpec, kept: tuple[RevisionView, ...], bounds: Bounds, cluster: str
) -> Desired:
    key = ModelKey(view.namespace, view.name)
    template = revisions_of.template_of(spec)
    target = revisions_of.revision_of(view.uid, template, cluster)
    number = _number(view, kept, target)
    autoscaling = scaling.autoscaling_of(spec)
    replicas = scaling.replicas_of(spec, view.status)
    limit = strategy.limits(spec.rollout, replicas)
    return Desired(
        key=key,
        uid=view.uid,
        suspended=spec.suspend,
        target=target,
        cluster=cluster,
        number=number,
        template=template,
        application=application.compose(key, target, number=number, template=template, bounds=bounds),
        replicas=replicas,
        autoscaling=autoscaling,
        least_field=scaling.least_field_of(spec),
        scale_to_zero=scaling.scale_to_zero_of(spec),
        strategy=strategy.effective(spec.rollout, replicas),
        surge=limit.surge,
        unavailable=limit.unavailable,
        stable_at_first=batches.stable_at_first(limit, replicas),
        steps=strategy.steps_of(spec.rollout, replicas),
        routing=strategy.routing_of(spec.rollout),
        progress_deadline_s=spec.rollout.progress_deadline_seconds,
        paused=spec.rollout.paused,
        analysis=analysis_spec.analysis_of(spec.rollout),
        allow_signature_change=spec.rollout.allow_signature_change,
        require_evaluation=spec.rollout.require_evaluation,
        on_insufficient_capacity=spec.rollout.on_insufficient_capacity,
        rollback_window_s=strategy.rollback_window_s(spec.rollout),
        warm_s=strategy.warm_s(spec.rollout),
        history_limit=spec.revision_history_limit,
        revisions={r.revision: _wanted(view, r) for r in kept},
    )


def _number(view: ModelDeploymentView, kept: tuple[RevisionView, ...], target: str) -> int:
    """The revision's number. One that is kept, or that the status still knows, has its own; none is given twice."""
    known = {row.name: row.number for row in view.status.revisions} | {r.revision: r.number for r in kept}
    return known.get(target, max(known.values(), default=0) + 1)


def _wanted(view: ModelDeploymentView, revision: RevisionView) -> WantedRevision:
    return WantedRevision(
        revision=revision.revision,
        number=revision.number,
        template=revision.template,
        cluster=revision.cluster,
        digest=revision.content_digest,
        route=routes.route_revision(revision),
        application=serve_config.application(view, revision),
    )
