"""Each condition but Ready, from one pass."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.api.monitoring import DriftWatch
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import Condition, ConditionStatus, Quarantine
from fairlead_operator.api.text import bounded, hide_addresses
from fairlead_operator.state import unread
from fairlead_operator.state.actions import Refused
from fairlead_operator.state.drift import ATTRIBUTION, ByRevision, Drifting
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.reasons import ConditionType, Reason
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.time import whole_second
from fairlead_operator.status import tasks
from fairlead_operator.status.pass_result import PassResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A condition without its history."""

    status: ConditionStatus
    reason: Reason
    message: str


CHECK_NETWORK = "Check the NetworkPolicies and the network between the gateway pods and the Ray pods."
"""What helps where Ray runs replicas that a gateway does not reach."""


def truth(is_true: bool, reason: Reason, message: str) -> Verdict:
    return Verdict(status=ConditionStatus.TRUE if is_true else ConditionStatus.FALSE, reason=reason, message=message)


def accepted(result: PassResult) -> Verdict:
    """Whether the spec can be acted on as it is."""
    if isinstance(result.desired, InvalidSpec):
        return truth(False, Reason.INVALID_SPEC, result.desired.message)
    if result.consequence.accepted is ConditionStatus.FALSE:
        return truth(False, result.plan.reason, result.plan.message)
    return truth(True, Reason.ACCEPTED, "The spec is accepted.")


def progressing(result: PassResult) -> Verdict:
    """Whether a change is under way."""
    if result.serving.rollout is not None and not result.consequence.is_paused:
        return truth(not result.is_at_rest, result.plan.reason, result.plan.message)
    if result.failed is not None:
        return truth(False, failure_reason(result.failed), failure_message(result))
    return truth(result.is_moving, result.plan.reason, result.plan.message)


def degraded(result: PassResult) -> Verdict:
    """Whether something serves, but not the desired revision, or not with all replicas."""
    stable = result.serving.stable
    if stable is None:
        return truth(False, result.plan.reason, "No revision serves.")
    if isinstance(serve := result.serve_of(stable), Unknown):
        message = unread.describe_ray(result.cluster_of(stable), serve.reason)
        return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.RAY_UNREACHABLE, message=message)
    is_held = result.plan.reason in (Reason.AT_ZERO, Reason.SCALING_FROM_ZERO)
    if not is_held and (missing := _missing(result, stable) or _unreachable(result, stable)) is not None:
        return missing
    if result.failed is not None:
        message = f"{result.called(stable)} serves. {sentence(failure_message(result))}"
        return truth(True, failure_reason(result.failed), message)
    if is_held:
        return truth(False, result.plan.reason, result.plan.message)
    return truth(False, Reason.SERVING, f"{result.called(stable)} has all its replicas.")


def _missing(result: PassResult, stable: str) -> Verdict | None:
    wanted, view = result.wanted_replicas(stable), result.application(stable)
    if wanted == 0 or result.is_being_changed(stable):
        return None
    if view is None:
        return truth(True, Reason.REPLICAS_LOST, f"Ray does not run {result.called(stable)}. The operator starts it.")
    if view.status in (ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED):
        if result.plan.reason is Reason.APPLICATION_UNHEALTHY and result.serving.candidate is None:
            return truth(True, result.plan.reason, result.plan.message)
        message = (
            f"Ray reports {result.called(stable)} as {view.status}: {view.running_replicas} of {wanted} replicas run."
        )
        return truth(True, Reason.APPLICATION_UNHEALTHY, message)
    if view.running_replicas < wanted and (view.running_replicas == 0 or view.status is ApplicationStatus.RUNNING):
        message = f"{view.running_replicas} of {wanted} replicas of {result.called(stable)} run."
        return truth(True, Reason.REPLICAS_MISSING, message)
    return None


def _unreachable(result: PassResult, stable: str) -> Verdict | None:
    """What Ray runs and a gateway does not reach; Unknown while a gateway can't be read."""
    if (why := result.observed.why_gateways_are_unknown) is not None:
        return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.GATEWAY_UNREACHABLE, message=why)
    if result.plan.reason is Reason.REPLICAS_UNREACHABLE:
        return truth(True, result.plan.reason, f"{result.plan.message} {CHECK_NETWORK}")
    route = result.observed.route
    if not isinstance(route, Known) or stable not in route.value.weights():
        return None
    without = [gateway for gateway, up in (result.observed.up_by_gateway(stable) or {}).items() if up == 0]
    if not without or result.wanted_replicas(stable) == 0:
        return None
    message = (
        f"Replicas of {result.called(stable)} run, but gateway {', '.join(sorted(without))} has no ready one. "
        f"{CHECK_NETWORK}"
    )
    return truth(True, Reason.REPLICAS_UNREACHABLE, message)


def reconciling(result: PassResult) -> Verdict:
    """kstatus: present work towards the spec."""
    if isinstance(result.outcome, Refused) and result.outcome.reason is not Reason.CONFLICT:
        cause = hide_addresses(result.outcome.message).rstrip(".")
        message = f"The operator failed to {tasks.describe(result)}: {cause}. It retries."
        return truth(True, Reason.WRITE_FAILED, message)
    return truth(result.is_moving, result.plan.reason, result.plan.message)


def stalled(result: PassResult) -> Verdict:
    """kstatus: it takes a person."""
    if dropped := result.observed.dropped_fields:
        message = f"The CRD is older than the operator: the API server drops status.{dropped[0]}. Update the CRD."
        return truth(True, Reason.CRD_OUTDATED, message)
    if result.consequence.is_stalled:
        return truth(True, result.plan.reason, result.plan.message)
    if result.failed is not None:
        return truth(True, failure_reason(result.failed), failure_message(result))
    if result.consequence.is_paused:
        return truth(False, result.plan.reason, "The rollout is paused.")
    return truth(False, result.plan.reason, "No manual action is needed.")


def drift_detected(result: PassResult) -> Condition | None:
    """Whether an alert on drift fires for the stable revision; None where the spec doesn't ask for it.

    Before Prometheus was asked, and while the spec can't be read, the condition is as it was.
    """
    spec, seen = result.view.spec, result.observed.drift
    if isinstance(spec, ModelDeploymentSpec):
        if spec.monitoring.drift is DriftWatch.OFF:
            return None
        if seen is not None:
            return settle(ConditionType.DRIFT_DETECTED, _drift(result, seen), result)
    return next((c for c in result.view.status.conditions if c.type == ConditionType.DRIFT_DETECTED), None)


def _drift(result: PassResult, seen: Known[ByRevision] | Unknown) -> Verdict:
    stable = result.serving.stable
    if isinstance(seen, Unknown):
        message = f"Prometheus has no answer about drift: {hide_addresses(seen.reason).rstrip('.')}."
        return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.DRIFT_UNKNOWN, message=message)
    if stable is None:
        return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.DRIFT_UNKNOWN, message="No revision serves.")
    if stable not in seen.value:
        message = (
            f"Prometheus compared no rows of {result.called(stable)} in the last day. That takes requests, a file "
            "statistics.json beside the model, and the recording rules of the chart."
        )
        return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.DRIFT_UNKNOWN, message=message)
    found = seen.value[stable]
    if found is None:
        return truth(False, Reason.NO_DRIFT, f"No drift of {result.called(stable)} is proved.")
    reason, message = _describe_drift(result.called(stable), found)
    return truth(True, reason, message)


def _describe_drift(revision: str, found: Drifting) -> tuple[Reason, str]:
    when = f"over {found.window} when it was found."
    if found.feature == ATTRIBUTION:
        share = f"At least {found.proved:.0%} of the" if found.proved > 0 else "The"
        text = f"{share} attributions of {revision} are of other parts of the input than in the evaluation data, {when}"
        return Reason.ATTRIBUTION_DRIFT, text
    is_input = found.feature.startswith("input")
    data = "the training data" if is_input else "the answers to the evaluation data"
    share = f"At least {found.proved:.0%} of the" if found.proved > 0 else "The"
    text = f"{share} rows of {revision} have {found.feature} in other bins than {data}, {when}"
    return Reason.INPUT_DRIFT if is_input else Reason.SCORE_DRIFT, text


def failure_message(result: PassResult) -> str:
    """The revision that failed or was given up, its reason, the loader's own words, and what helps."""
    failed, retry = result.failed, f"run `kubectl fairlead retry {result.view.name}`"
    if failed is None:
        return ""
    if failed.is_by_request:
        return f"{failed.message.rstrip('.')}. To start a new rollout, change spec.model or spec.serving, or {retry}."
    why = f"{result.called(failed.revision)} failed: {failed.reason}: {failed.message}"
    return (
        f"{why.rstrip('.')}. The operator does not retry this revision. Change spec.model or spec.serving, or {retry}."
    )


def failure_reason(failed: Quarantine) -> Reason:
    """What a person decided is called so."""
    return Reason(failed.reason) if failed.is_by_request else Reason.ROLLOUT_FAILED


def sentence(message: str) -> str:
    return message[:1].upper() + message[1:]


def settle(kind: ConditionType, verdict: Verdict, result: PassResult) -> Condition:
    """The condition with its history: the transition time changes only with the status."""
    old = next((c for c in result.view.status.conditions if c.type == kind), None)
    same = old is not None and old.status is verdict.status
    message, generation = str(bounded(sentence(verdict.message))), result.view.generation
    if (
        old is not None
        and same
        and (old.reason, old.message, old.observed_generation) == (verdict.reason, message, generation)
    ):
        return old
    return Condition(
        type=kind,
        status=verdict.status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and same else whole_second(result.now),
        reason=verdict.reason,
        message=message,
    )
