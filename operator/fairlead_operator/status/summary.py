"""The new status: Ready and the phase in one place, the numbers, and the patch that makes it so."""

from __future__ import annotations

import datetime

from fairlead_operator.api import names
from fairlead_operator.api.revision_status import Endpoints, ModelStatus
from fairlead_operator.api.status import (
    CONDITIONS_MAX,
    Condition,
    ConditionStatus,
    ModelDeploymentStatus,
    Phase,
)
from fairlead_operator.state import merge_patch
from fairlead_operator.state.actions import Outcome, Plan, StatusUpdate
from fairlead_operator.state.desired import Desired
from fairlead_operator.state.observed import SHOWN_FIELDS, InvalidSpec, ModelDeploymentView, Observed
from fairlead_operator.state.reasons import ConditionType, Reason
from fairlead_operator.state.rollout import record
from fairlead_operator.state.time import elapsed_s
from fairlead_operator.status import availability, conditions, events, fold, rows, scaling
from fairlead_operator.status.conditions import Verdict, truth
from fairlead_operator.status.pass_result import PassResult

GATEWAYS_LAG_S = 20.0
"""A gateway may see a replica so much later than Ray does, before the model counts as not ready."""


def summarise(
    desired: Desired | InvalidSpec,
    view: ModelDeploymentView,
    observed: Observed,
    *,
    plan: Plan,
    outcome: Outcome,
    now: datetime.datetime,
) -> StatusUpdate:
    """The status after this pass; ``patch`` is None when it equals the one that was read."""
    result = PassResult(
        desired=desired,
        view=view,
        observed=observed,
        plan=plan,
        outcome=outcome,
        serving=fold.after(plan, outcome, now),
        now=now,
    )
    status = _status(result)
    new, old = status.to_wire(), view.wire_status
    return StatusUpdate(
        key=observed.key,
        status=new,
        patch=_kept_back(merge_patch.between(old, new), plan),
        events=events.events_of_pass(result, status.conditions),
        written_at=now,
    )


def _kept_back(patch: dict[str, object] | None, plan: Plan) -> dict[str, object] | None:
    """What can't be read stays as it is, for the version that can read it: only what is shown is written."""
    if patch is None or plan.reason is not Reason.STATUS_UNREADABLE:
        return patch
    return {name: value for name, value in patch.items() if name in SHOWN_FIELDS} or None


def _status(result: PassResult) -> ModelDeploymentStatus:
    listed = rows.revisions(result)
    settled = _conditions(result)
    kept = record(result.serving, result.view.status, message=result.plan.message)
    return kept.model_copy(
        update={
            "observed_generation": result.view.generation,
            "phase": _phase(result, settled),
            "revisions": listed,
            "replicas": rows.existing(result),
            "ready_replicas": sum(row.ready_replicas for row in listed),
            "scaling": scaling.describe(result),
            "selector": _selector(result),
            "endpoints": _endpoints(result),
            "model": _model(result),
            "conditions": settled,
        }
    )


def _selector(result: PassResult) -> str:
    """An autoscaler that counts pods must not count those of a candidate: it would scale for both, by the load of one.

    Source: argoproj/argo-rollouts#2857.
    """
    model, stable = f"{names.LABEL_MODEL}={result.view.name}", result.serving.stable
    return f"{model},{names.LABEL_REVISION}={stable}" if stable is not None else model


def _conditions(result: PassResult) -> tuple[Condition, ...]:
    """The operator's own; those that another controller set stay as they are."""
    verdicts = (
        (ConditionType.READY, _ready(result)),
        (ConditionType.AVAILABLE, availability.available(result)),
        (ConditionType.ACCEPTED, conditions.accepted(result)),
        (ConditionType.PROGRESSING, conditions.progressing(result)),
        (ConditionType.DEGRADED, conditions.degraded(result)),
        (ConditionType.RECONCILING, conditions.reconciling(result)),
        (ConditionType.STALLED, conditions.stalled(result)),
    )
    own = tuple(conditions.settle(kind, verdict, result) for kind, verdict in verdicts)
    drift = conditions.drift_detected(result)
    own = (*own, drift) if drift is not None else own
    foreign = tuple(each for each in result.view.status.conditions if each.type not in set(ConditionType))
    return (*own, *foreign)[:CONDITIONS_MAX]


def _ready(result: PassResult) -> Verdict:
    """The one place where Ready is set: the desired revision serves with all its replicas."""
    plan, desired, serving = result.plan, result.desired_if_valid, result.serving
    is_moved = serving.rollout is None or serving.rules.keeps_warm
    is_settled = desired is not None and is_moved and serving.stable == desired.target
    ready = result.consequence.ready
    if desired is not None and is_settled and (ready is ConditionStatus.TRUE or _is_in_grace(result, desired)):
        return truth(True, plan.reason, plan.message)
    if is_settled and ready is ConditionStatus.UNKNOWN:
        return Verdict(status=ConditionStatus.UNKNOWN, reason=plan.reason, message=plan.message)
    if result.failed is not None and not result.view.is_deleting and serving.rules.running:
        return truth(False, conditions.failure_reason(result.failed), conditions.failure_message(result))
    return truth(False, plan.reason, plan.message)


def _is_in_grace(result: PassResult, desired: Desired) -> bool:
    """Whether Ready holds although replicas are missing: a scale-up is given the progress deadline to come true.

    So is what a gateway takes a moment to see. A replica that was lost, or one that no gateway reaches, is not.
    """
    since, reason = result.serving.short_since, result.plan.reason
    old = next((c for c in result.view.status.conditions if c.type == ConditionType.READY), None)
    if old is None or old.status is not ConditionStatus.TRUE:
        return False
    short_s = elapsed_s(since, result.now) if since is not None else 0.0
    if reason is Reason.SCALING:
        return short_s <= desired.progress_deadline_s
    up = result.observed.up_by_gateway(result.serving.stable or "") or {}
    is_partly = reason is Reason.REPLICAS_UNREACHABLE and bool(up) and min(up.values()) > 0
    return is_partly and short_s <= GATEWAYS_LAG_S


def _phase(result: PassResult, settled: tuple[Condition, ...]) -> Phase:
    is_true = {c.type for c in settled if c.status is ConditionStatus.TRUE}
    serving = result.serving
    if result.view.is_deleting:
        return Phase.TERMINATING
    if serving.rules.is_suspension:
        return Phase.SUSPENDED
    if ConditionType.READY in is_true:
        return Phase.READY
    if result.plan.reason is Reason.INSUFFICIENT_CAPACITY:
        return Phase.PENDING
    if result.consequence.is_paused:
        return Phase.PAUSED
    if ConditionType.DEGRADED in is_true:
        return Phase.DEGRADED
    if ConditionType.STALLED in is_true and serving.stable is None and serving.candidate is None:
        return Phase.FAILED
    if serving.rollout is not None:
        return Phase.STARTING if serving.stable is None else Phase.ROLLING_OUT
    if result.consequence.ready is ConditionStatus.UNKNOWN:
        return result.view.status.phase or Phase.PENDING
    return Phase.PENDING if serving.stable is None else Phase.STARTING


def _endpoints(result: PassResult) -> Endpoints | None:
    base = result.observed.gateway_url
    if base is None:
        return None
    base = base.rstrip("/")
    return Endpoints(v1=f"{base}/v1/models/{result.view.name}", v2=f"{base}/v2/models/{result.view.name}")


def _model(result: PassResult) -> ModelStatus | None:
    stable = result.serving.stable
    if result.desired_if_valid is None:
        return result.view.status.model
    wanted = result.desired_if_valid.revisions.get(stable) if stable is not None else None
    if wanted is None:
        return None
    model = wanted.template.model
    return ModelStatus(uri=model.uri, digest=wanted.digest, version=model.version)
