"""What each phase with a candidate waits for, once nothing condemns the candidate (``condemn.chain``)."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan import failure, traffic
from fairlead_operator.plan.condemn import chain, deadline, evaluation, readiness, start
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import contract, cover, growth, measuring, proof, steps
from fairlead_operator.plan.upkeep import attempts, steady
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import PinDigest, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.triggers import Trigger

Judged = Plan | Verdict


def starting(context: Context, rollout: Rollout) -> Judged:
    """Ray has to have the candidate's application running: one replica while its content is unknown, else all."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return (
        chain.find(context, rollout)
        or _replicas_in_ray(context, candidate, Reason.STARTING)
        or _ready(
            Reason.CONNECTING,
            f"{context.called(candidate.revision)} runs. The gateways add it to the route without traffic.",
        )
    )


def connecting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the route and see the replicas."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return (
        chain.find(context, rollout)
        or _started_again(context, candidate)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, candidate, Reason.CONNECTING)
        or _ready(
            Reason.PROVING,
            f"{context.called(candidate.revision)} is ready at every gateway. A test prediction follows.",
        )
    )


def proving(context: Context, rollout: Rollout) -> Judged:
    """A replica has to answer its example, asked through a gateway; then the content that it loaded is pinned."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    called = context.called(candidate.revision)
    if (condemned := chain.find(context, rollout)) is not None:
        return condemned
    if evaluation.is_proved(context, rollout):
        if candidate.digest is None and rollout.proof_digest is not None:
            pin = PinDigest(
                name=_object_name(context, candidate.revision), revision=candidate.revision, digest=rollout.proof_digest
            )
            return context.act(
                pin, Reason.PINNING, f"Pinning {called} to the content that it loaded: {rollout.proof_digest}."
            )
        if (waits := _contract(context, rollout, candidate)) is not None:
            return waits
        return _ready(Reason.SCALING_UP_CANDIDATE, one_line(proof.summary(rollout, called)))
    return (
        _started_again(context, candidate)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, candidate, Reason.PROVING)
        or proof.attempt(context, rollout, candidate.revision)
    )


def _contract(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """A candidate that breaks the contract rests here, with the one replica that was proved."""
    broken = contract.broken(context, rollout)
    if broken is None:
        return None
    message = f"{broken}."
    held = context.wait(Reason.SIGNATURE_CHANGED, message, requeue_after_s=context.bounds.resync_s)
    return _started_again(context, candidate) or held


def widening(context: Context, rollout: Rollout) -> Judged:
    """All replicas have to run and be seen by every gateway; a paused rollout rests here, without traffic."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    waits = (
        chain.find(context, rollout)
        or _replicas_in_ray(context, candidate, Reason.SCALING_UP_CANDIDATE)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, candidate, Reason.SCALING_UP_CANDIDATE)
    )
    if waits is not None:
        return waits
    called = context.called(candidate.revision)
    if (holder := steps.held_by(context, rollout)) is not None:
        message = f"{called} is ready and gets no traffic: {holder}"
        return context.wait(Reason.PAUSED, message, requeue_after_s=context.bounds.resync_s)
    return _ready(Reason.SHIFTING, f"{called} passed its test prediction. Traffic starts to shift.")


def shifting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the step's weight; the steps go one after the other."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    called = context.called(candidate.revision)
    waits = (
        chain.find(context, rollout)
        or _unwell(context, rollout, candidate)
        or cover.look(context, rollout)
        or (_growing(context, rollout, candidate) if not traffic.is_covered(context) else None)
        or measuring.start_at_new_weight(context, rollout)
        or (traffic.ensure(context, traffic.entry(context)) if context.serving.stable is not None else None)
    )
    if waits is not None:
        return measuring.beside(context, rollout, waits) if isinstance(waits, Plan) else waits
    return measuring.following(context, rollout, called)


def _growing(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """More replicas first, more traffic then; a route that the gateways already have stays as it is."""
    route = context.observed.route
    is_told = isinstance(route, Known) and route.value.holds(traffic.entry(context))
    if (waits := growth.grow(context, rollout) or _stable_grows(context, rollout)) is not None:
        return waits
    if not steps.is_growing(context, rollout) or (is_told and rollout.weight == FULL_WEIGHT):
        return None
    return _replicas_in_ray(context, candidate, Reason.SHIFTING) or _replicas_at_gateways(
        context, candidate, Reason.SHIFTING
    )


def _stable_grows(context: Context, rollout: Rollout) -> Plan | None:
    """A step that gives traffic back waits for what batches took of the stable revision."""
    stable, route = context.serving.stable, context.observed.route
    if stable is None or rollout.stable_replicas is None or not isinstance(route, Known):
        return None
    is_more = route.value.weights().get(context.serving.candidate or "", 0) > rollout.weight
    needed, up = steps.needed_for(context, rollout.weight), context.fewest_up(stable)
    if not is_more or up is None or up >= needed:
        return None
    message = f"The gateways see {up} of {needed} replicas of {context.called(stable)}, which gets traffic again."
    return context.wait(Reason.SHIFTING, message)


def _unwell(context: Context, rollout: Rollout, candidate: WantedRevision) -> Plan | None:
    """What is waited for while the candidate isn't well: another start, or the end of its spell."""
    view = context.application(candidate.revision)
    if context.serving.stable is None or (view is not None and view.status is ApplicationStatus.DEPLOY_FAILED):
        return _started_again(context, candidate)
    return readiness.follow(context, rollout)


def _candidate(context: Context) -> WantedRevision | Plan:
    revision = context.serving.candidate
    wanted = context.desired.revisions.get(revision) if revision is not None else None
    if wanted is not None:
        return wanted
    message = f"The ControllerRevision of candidate {revision} was deleted. The operator changes nothing."
    return context.wait(Reason.REVISION_LOST, message, requeue_after_s=context.bounds.resync_s)


def _object_name(context: Context, revision: str) -> str:
    return f"{context.observed.key.name}-{revision}"


def _ready(reason: Reason, message: str) -> Verdict:
    return Verdict(trigger=Trigger.READY, reason=reason, message=message)


def _replicas_in_ray(context: Context, candidate: WantedRevision, reason: Reason) -> Plan | None:
    if isinstance(serve := context.serve_of(candidate.revision), Unknown):
        return context.wait_for_ray(context.cluster_of(candidate.revision), serve.reason)
    if (retried := _started_again(context, candidate)) is not None:
        return retried
    view, wanted = context.application(candidate.revision), deadline.wanted_replicas(context, candidate.revision)
    if view is None:
        return _not_taken(context, reason, candidate.revision)
    if view.running_replicas >= wanted > 0:
        return None
    waits_for = f"{view.running_replicas} of {wanted} replicas of {context.called(candidate.revision)} run"
    return context.wait(reason, f"{waits_for}{steady.describe_waiting(context, candidate, view)}.")


def _not_taken(context: Context, reason: Reason, candidate: str) -> Plan:
    """Ray has not got the configuration: the candidate is not to blame, and its deadline stands still."""
    called, cluster = context.called(candidate), context.cluster_of(candidate)
    if (refusal := steady.describe_refusal(context, cluster)) is not None:
        message = f"Ray cluster {cluster} has not accepted the configuration of {called}: {refusal}"
        return context.nudge(candidate, Reason.RAY_REFUSED, one_line(message))
    return context.nudge(candidate, reason, f"Waiting for Ray to accept the configuration of {called}.")


def _replicas_at_gateways(context: Context, candidate: WantedRevision, reason: Reason) -> Plan | None:
    up, wanted = context.fewest_up(candidate.revision), deadline.wanted_replicas(context, candidate.revision)
    if up is None:
        return context.wait_for_gateways()
    if up >= wanted > 0:
        return None
    return context.wait(reason, f"The gateways see {up} of {wanted} replicas of {context.called(candidate.revision)}.")


def _started_again(context: Context, candidate: WantedRevision) -> Plan | None:
    """A candidate that Ray gave up for what is not its fault is tried again, with growing pauses."""
    view = start.find_given_up(context, candidate.revision)
    if view is None:
        return None
    failed, called = failure.read_failure(view.message), context.called(candidate.revision)
    if attempts.is_given_up(context, candidate.revision):
        announced = attempts.start(context, candidate.revision, failed)
        if announced is not None:
            return announced
    number = attempts.number_of(context, candidate.revision)
    reason = Reason.START_BLOCKED if attempts.is_blocked(context, candidate.revision) else Reason.START_RETRIED
    message = (
        f"{called} could not start (attempt {number + 1}). The operator retries it. {failed.reason}: {failed.message}"
    )
    wait_s = max(context.bounds.poll_s, min(attempts.left_s(context, candidate.revision), context.bounds.unknown_s))
    return context.wait(reason, one_line(message), requeue_after_s=wait_s)
