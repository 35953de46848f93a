"""What each phase with a candidate waits for, and when the candidate has failed."""

from __future__ import annotations

import datetime
from dataclasses import replace

from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.plan import traffic
from fairlead_operator.plan.condemn import ray, readiness
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import contract, measuring, proof, steps
from fairlead_operator.plan.triggers import Trigger, Verdict
from fairlead_operator.state.actions import PinDigest, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout
from fairlead_operator.state.route import FULL_WEIGHT
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.time import elapsed_s

Judged = Plan | Verdict


def starting(context: Context, rollout: Rollout) -> Judged:
    """Ray has to have the candidate's application running: one replica while its content is unknown, else all."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return _replicas_in_ray(context, rollout, candidate, Reason.STARTING) or _ready(
        Reason.CONNECTING, f"{context.called(candidate.revision)} runs; the gateways are told of it, without traffic."
    )


def connecting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the route and see the replicas."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    return (
        _lost(context, candidate)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, rollout, candidate, Reason.CONNECTING)
        or _ready(Reason.PROVING, f"{context.called(candidate.revision)} has to answer its example.")
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
            return context.act(pin, Reason.PINNING, f"Pins {called} to the content it read: {rollout.proof_digest}.")
        if (waits := _contract(context, rollout, candidate)) is not None:
            return waits
        return _ready(Reason.WIDENING, one_line(proof.summary(rollout, called)))
    if (message := proof.failure(context, rollout, candidate.revision)) is not None:
        return _failed(Reason.PROOF_FAILED, one_line(message))
    return (
        _lost(context, candidate)
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
        return _released(context, rollout, rollout.held_at, Reason.PROVING) if rollout.held_at is not None else None
    message = f"{broken}. Allow it by spec.rollout.allowSignatureChange: true, or change the spec."
    return _lost(context, candidate) or _held(context, rollout, message, Reason.SIGNATURE_CHANGED)


def widening(context: Context, rollout: Rollout) -> Judged:
    """All replicas have to run and be seen by every gateway; a paused rollout rests here, without traffic."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    holder = steps.held_by(context, rollout)
    if holder is None and rollout.held_at is not None:
        return _released(context, rollout, rollout.held_at, Reason.WIDENING)
    waits = (
        _replicas_in_ray(context, rollout, candidate, Reason.WIDENING)
        or traffic.ensure(context, traffic.entry(context))
        or _replicas_at_gateways(context, rollout, candidate, Reason.WIDENING)
    )
    if waits is not None:
        return waits
    called = context.called(candidate.revision)
    if holder is not None:
        return _held(context, rollout, f"{called} is ready; {holder} holds its traffic back.", Reason.PAUSED)
    return _ready(Reason.SHIFTING, f"{called} is proved; traffic moves to it.")


def _held(context: Context, rollout: Rollout, message: str, reason: Reason) -> Plan:
    """Remembers since when, so that the deadline can leave the time out."""
    if rollout.held_at is not None:
        return context.wait(reason, message, requeue_after_s=context.bounds.resync_s)
    held = replace(rollout, held_at=context.second)
    return context.announce(replace(context.serving, rollout=held), reason, message)


def _released(context: Context, rollout: Rollout, held_at: datetime.datetime, reason: Reason) -> Plan:
    held_s = datetime.timedelta(seconds=int(elapsed_s(held_at, context.second)))
    moved = replace(rollout, held_at=None, started_at=rollout.started_at + held_s)
    message = "The rollout is no longer held."
    return context.announce(replace(context.serving, rollout=moved), reason, message)


def shifting(context: Context, rollout: Rollout) -> Judged:
    """Every gateway has to have the step's weight; the steps go one after the other."""
    candidate = _candidate(context)
    if not isinstance(candidate, WantedRevision):
        return candidate
    called = context.called(candidate.revision)
    waits = (
        _unwell(context, rollout, candidate)
        or _growing(context, rollout, candidate)
        or (traffic.ensure(context, traffic.entry(context)) if context.serving.stable is not None else None)
    )
    if waits is not None:
        return waits
    return measuring.following(context, rollout, called)


def _growing(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """More replicas first, more traffic then; what the gateways were already told is not taken back for it."""
    route = context.observed.route
    is_told = isinstance(route, Known) and route.value.holds(traffic.entry(context))
    if (waits := _stable_grows(context, rollout)) is not None:
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
    message = f"The gateways see {up} of {needed} replicas of {context.called(stable)}, which takes traffic back."
    return context.wait(Reason.SHIFTING, message)


def _unwell(context: Context, rollout: Rollout, candidate: WantedRevision) -> Judged | None:
    """With traffic a candidate may stumble: it fails by Ray's final word, or where it stays or keeps falling down."""
    stable, view = context.serving.stable, context.application(candidate.revision)
    if stable is None or (view is not None and view.status is ApplicationStatus.DEPLOY_FAILED):
        return _lost(context, candidate)
    judged = readiness.judge(context, rollout, candidate.revision, other=stable)
    return _failed(judged.reason, judged.message) if isinstance(judged, readiness.Failed) else judged


def _candidate(context: Context) -> WantedRevision | Plan:
    revision = context.serving.candidate
    wanted = context.desired.revisions.get(revision) if revision is not None else None
    if wanted is not None:
        return wanted
    message = f"The ControllerRevision of candidate {revision} is gone; what runs is left as it is."
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
    if (lost := _lost(context, candidate)) is not None:
        return lost
    running = view.running_replicas if view is not None else 0
    if view is not None and running >= wanted > 0:
        return None
    waits_for = f"{running} of {wanted} replicas of {called} run"
    if _is_late(context, rollout):
        said = ray.read_failure(view.message if view is not None else "")
        word = said.reason if said.reason != Reason.DEPLOY_FAILED else None
        message = f"After {context.desired.progress_deadline_s} s {waits_for}. {said.message}"
        return _failed(Reason.PROGRESS_DEADLINE_EXCEEDED, one_line(message), word=word)
    if view is None:
        return context.nudge(candidate.revision, reason, f"Waits for Ray to take {called}.")
    return context.wait(reason, f"{waits_for}.")


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
            f"After {context.desired.progress_deadline_s} s the gateways see {up} of {wanted} replicas of {called}."
        )
        return _failed(Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    return context.wait(reason, f"The gateways see {up} of {wanted} replicas of {called}.")


def _is_late(context: Context, rollout: Rollout) -> bool:
    """From the rollout's start, later from the step's: partial readiness in between resets nothing."""
    is_shifting = rollout.phase is RolloutPhase.SHIFTING
    waited_s = context.since_step_s(rollout) if is_shifting else context.since_start_s(rollout)
    return waited_s > context.desired.progress_deadline_s


def _lost(context: Context, candidate: WantedRevision) -> Plan | Verdict | None:
    """Ray's own verdict on the candidate's application."""
    view = context.application(candidate.revision)
    if view is None:
        return None
    match view.status:
        case ApplicationStatus.DEPLOY_FAILED:
            failed = ray.read_failure(view.message)
            return _failed(Reason.DEPLOY_FAILED, failed.message, word=failed.reason)
        case ApplicationStatus.UNHEALTHY if view.running_replicas == 0:
            failed = ray.read_failure(view.message)
            return _failed(Reason.APPLICATION_UNHEALTHY, failed.message, word=failed.reason)
        case _:
            return None
