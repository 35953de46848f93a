"""What each phase with a candidate waits for, and when the candidate has failed."""

from __future__ import annotations

from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.plan import traffic
from fairlead_operator.plan.condemn import ray, readiness
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import contract, cover, deadline, growth, measuring, proof, steps
from fairlead_operator.plan.upkeep import attempts, steady
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state import load_reasons
from fairlead_operator.state.actions import PinDigest, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.load_reasons import Blame
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout
from fairlead_operator.state.route import FULL_WEIGHT
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.triggers import Trigger

Judged = Plan | Verdict
BLOCKED_AFTER = 4
"""So many attempts that failed for a reason outside the model need a person to look."""


def starting(context: Context, rollout: Rollout) -> Judged:
    """Ray has to have the candidate's application running: one replica while its content is unknown, else all."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return _replicas_in_ray(context, rollout, candidate, Reason.STARTING) or _ready(
        Reason.CONNECTING,
        f"{context.called(candidate.revision)} runs. The gateways add it to the route without traffic.",
    )


def connecting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the route and see the replicas."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return (
        _lost(context, rollout, candidate)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, rollout, candidate, Reason.CONNECTING)
        or _ready(
            Reason.PROVING,
            f"{context.called(candidate.revision)} is ready at every gateway. Next, it has to answer its example.",
        )
    )


def proving(context: Context, rollout: Rollout) -> Judged:
    """A replica has to answer its example, asked through a gateway; then the content that it loaded is pinned."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    called = context.called(candidate.revision)
    if rollout.proved:
        if candidate.digest is None and rollout.proof_digest is not None:
            pin = PinDigest(
                name=_object_name(context, candidate.revision), revision=candidate.revision, digest=rollout.proof_digest
            )
            return context.act(
                pin, Reason.PINNING, f"Pins {called} to the content that it loaded: {rollout.proof_digest}."
            )
        if (waits := _contract(context, rollout, candidate)) is not None:
            return waits
        return _ready(Reason.WIDENING, one_line(proof.summary(rollout, called)))
    if (message := proof.failure(context, rollout, candidate.revision)) is not None:
        return _failed(Reason.PROOF_FAILED, one_line(message))
    return (
        _lost(context, rollout, candidate)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, rollout, candidate, Reason.PROVING)
        or _not_proved_in_time(context, rollout, candidate)
        or proof.attempt(context, rollout, candidate.revision)
    )


def _not_proved_in_time(context: Context, rollout: Rollout, candidate: WantedRevision) -> Verdict | None:
    """A proof that can't be had ends the rollout as replicas that don't come do; one that was never tried doesn't."""
    if rollout.proof_attempts == 0 or not _is_late(context, rollout):
        return None
    message = proof.timeout(context, rollout, candidate.revision)
    reason = Reason.PROOF_FAILED if rollout.proof_failures else Reason.PROGRESS_DEADLINE_EXCEEDED
    return _failed(reason, one_line(message))


def _contract(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """A candidate that breaks the contract rests here, with the one replica that was proved."""
    broken = contract.broken(context, rollout)
    if broken is None:
        return None
    message = f"{broken}."
    held = context.wait(Reason.SIGNATURE_CHANGED, message, requeue_after_s=context.bounds.resync_s)
    return _lost(context, rollout, candidate) or held


def widening(context: Context, rollout: Rollout) -> Judged:
    """All replicas have to run and be seen by every gateway; a paused rollout rests here, without traffic."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    waits = (
        _replicas_in_ray(context, rollout, candidate, Reason.WIDENING)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, rollout, candidate, Reason.WIDENING)
    )
    if waits is not None:
        return waits
    called = context.called(candidate.revision)
    if (holder := steps.held_by(context, rollout)) is not None:
        message = f"{called} is ready and gets no traffic {holder}."
        return context.wait(Reason.PAUSED, message, requeue_after_s=context.bounds.resync_s)
    return _ready(Reason.SHIFTING, f"{called} is proved. The first step of the traffic begins.")


def shifting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the step's weight; the steps go one after the other."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    called = context.called(candidate.revision)
    waits = (
        _unwell(context, rollout, candidate)
        or cover.look(context, rollout)
        or (_growing(context, rollout, candidate) if not traffic.is_covered(context) else None)
        or (traffic.ensure(context, traffic.entry(context)) if context.serving.stable is not None else None)
    )
    if waits is not None:
        return waits
    return measuring.following(context, rollout, called)


def _growing(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """More replicas first, more traffic then; a route that the gateways already have stays as it is."""
    route = context.observed.route
    is_told = isinstance(route, Known) and route.value.holds(traffic.entry(context))
    if (waits := growth.grow(context, rollout) or _stable_grows(context, rollout)) is not None:
        return waits
    if not steps.is_growing(context, rollout) or (is_told and rollout.weight == FULL_WEIGHT):
        return None
    return _replicas_in_ray(context, rollout, candidate, Reason.SHIFTING) or _replicas_at_gateways(
        context, rollout, candidate, Reason.SHIFTING
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
    message = f"The gateways see {up} of {needed} replicas of {context.called(stable)}, which gets traffic back."
    return context.wait(Reason.SHIFTING, message)


def _unwell(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """With traffic a candidate may stumble: it fails by Ray's final word, or where it stays or keeps falling down."""
    stable, view = context.serving.stable, context.application(candidate.revision)
    if stable is None or (view is not None and view.status is ApplicationStatus.DEPLOY_FAILED):
        return _lost(context, rollout, candidate)
    judged = readiness.judge(context, rollout, candidate.revision, other=stable)
    return _failed(judged.reason, judged.message) if isinstance(judged, readiness.Failed) else judged


def _candidate(context: Context) -> WantedRevision | Plan:
    revision = context.serving.candidate
    wanted = context.desired.revisions.get(revision) if revision is not None else None
    if wanted is not None:
        return wanted
    message = f"The ControllerRevision of candidate {revision} was deleted, so nothing is changed."
    return context.wait(Reason.REVISION_LOST, message, requeue_after_s=context.bounds.resync_s)


def _object_name(context: Context, revision: str) -> str:
    return f"{context.observed.key.name}-{revision}"


def _ready(reason: Reason, message: str) -> Verdict:
    return Verdict(trigger=Trigger.READY, reason=reason, message=message)


def _failed(reason: Reason, message: str, *, word: str | None = None) -> Verdict:
    return Verdict(trigger=Trigger.FAILED, reason=reason, message=message, failure_reason=word)


def _replicas_in_ray(
    context: Context, rollout: Rollout, candidate: WantedRevision, reason: Reason
) -> Plan | Verdict | None:
    if isinstance(serve := context.serve_of(candidate.revision), Unknown):
        return context.wait_unknown(Reason.RAY_UNREACHABLE, f"Ray can't be read: {hide_addresses(serve.reason)}")
    called = context.called(candidate.revision)
    wanted = candidate.application.replicas if candidate.application is not None else 0
    view = context.application(candidate.revision)
    if (lost := _lost(context, rollout, candidate)) is not None:
        return lost
    running = view.running_replicas if view is not None else 0
    if view is not None and running >= wanted > 0:
        return None
    waits_for = f"{running} of {wanted} replicas of {called} run"
    if _is_late(context, rollout):
        failure = ray.read_failure(view.message if view is not None else "")
        word = failure.reason if failure.reason != Reason.DEPLOY_FAILED else None
        message = f"After {context.desired.progress_deadline_s} s, {waits_for}. {failure.message}"
        return _failed(Reason.PROGRESS_DEADLINE_EXCEEDED, one_line(message), word=word)
    if view is None:
        return _not_taken(context, reason, candidate.revision)
    return context.wait(reason, f"{waits_for}{steady.describe_waiting(candidate, view)}.")


def _not_taken(context: Context, reason: Reason, candidate: str) -> Plan:
    """Ray has not got the configuration: the candidate is not to blame, and its deadline stands still."""
    called = context.called(candidate)
    write = context.observed.ray_write.get(context.cluster_of(candidate))
    if write is not None and not write.is_accepted:
        message = f"Ray has not accepted the configuration of {called}: {hide_addresses(write.message)}"
        return context.nudge(candidate, Reason.RAY_REFUSED, one_line(message))
    return context.nudge(candidate, reason, f"Waits for Ray to accept the configuration of {called}.")


def _replicas_at_gateways(
    context: Context, rollout: Rollout, candidate: WantedRevision, reason: Reason
) -> Plan | Verdict | None:
    called = context.called(candidate.revision)
    wanted = candidate.application.replicas if candidate.application is not None else 0
    up = context.fewest_up(candidate.revision)
    if up is None:
        return context.wait_unknown(Reason.GATEWAY_UNREACHABLE, "The gateways can't be read.")
    if up >= wanted > 0:
        return None
    if _is_late(context, rollout):
        message = (
            f"After {context.desired.progress_deadline_s} s, the gateways see {up} of {wanted} replicas of {called}."
        )
        return _failed(Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    return context.wait(reason, f"The gateways see {up} of {wanted} replicas of {called}.")


def _is_late(context: Context, rollout: Rollout) -> bool:
    return deadline.is_late(context, rollout)


def _lost(context: Context, rollout: Rollout, candidate: WantedRevision) -> Plan | Verdict | None:
    """Ray's own word on the candidate's application: condemned for what is its own fault, else tried again."""
    view = context.application(candidate.revision)
    is_gone = view is not None and view.status is ApplicationStatus.UNHEALTHY and view.running_replicas == 0
    if view is None or not (is_gone or view.status is ApplicationStatus.DEPLOY_FAILED):
        return None
    failed = ray.read_failure(view.message)
    if _is_its_own_fault(context, rollout, candidate, load_reasons.blame_for(failed.reason)):
        reason = Reason.APPLICATION_UNHEALTHY if is_gone else Reason.DEPLOY_FAILED
        return _failed(reason, failed.message, word=failed.reason)
    if attempts.is_given_up(context, candidate.revision):
        return attempts.start(context, candidate.revision, failed) or _starts_again(context, candidate, failed)
    return _starts_again(context, candidate, failed)


def _is_its_own_fault(context: Context, rollout: Rollout, candidate: WantedRevision, blame: Blame) -> bool:
    """Once it was proved, what befalls both revisions at once is the fault of neither."""
    stable = context.serving.stable
    is_other_ready = stable is None or context.is_running(stable)
    match blame:
        case Blame.MODEL:
            return is_other_ready or not rollout.proved
        case Blame.ENVIRONMENT:
            return _is_given_up_for_the_last(context, candidate)
        case Blame.ADDRESS:
            return _has_had_its_tries(context, rollout, candidate) or _is_given_up_for_the_last(context, candidate)
        case Blame.UNKNOWN:
            return is_other_ready


def _has_had_its_tries(context: Context, rollout: Rollout, candidate: WantedRevision) -> bool:
    """An address that gives nothing, beside a stable revision that runs: tried again within the progress deadline."""
    if not attempts.is_bounded(context, candidate.revision):
        return False
    return attempts.number_of(context, candidate.revision) >= BLOCKED_AFTER or _is_late(context, rollout)


def _is_given_up_for_the_last(context: Context, candidate: WantedRevision) -> bool:
    """With nothing stable a revision that served before is better than one that can't be started for minutes."""
    serving, last = context.serving, context.serving.last_stable
    if serving.stable is not None or last is None or last == candidate.revision or serving.quarantined(last):
        return False
    return last in context.desired.revisions and attempts.number_of(context, candidate.revision) >= BLOCKED_AFTER


def _starts_again(context: Context, candidate: WantedRevision, failed: ray.Failure) -> Plan:
    called, number = context.called(candidate.revision), attempts.number_of(context, candidate.revision)
    reason = Reason.START_BLOCKED if number >= BLOCKED_AFTER else Reason.START_RETRIED
    message = f"{called} could not start (attempt {number + 1}) and is retried. {failed.reason}: {failed.message}"
    wait_s = max(context.bounds.poll_s, min(attempts.left_s(context, candidate.revision), context.bounds.unknown_s))
    return context.wait(reason, one_line(message), requeue_after_s=wait_s)
