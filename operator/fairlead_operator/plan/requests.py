"""What people ask for through ``status.request``: carried out or refused exactly once, in the write that records it.

A request is a trigger like any other. One that the present phase finishes something before waits, unhandled, for a
later phase; one that can come true in none is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fairlead_operator.api import names
from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.api.status import (
    Attempt,
    HandledRequest,
    Quarantine,
    Request,
    RequestOutcome,
    Rollback,
    Rollout,
    Verb,
)
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import advance, contract, steps
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.desired import Batch, MinSamples, Pause, WantedRevision
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.triggers import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request can't be carried out, now or later."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The trigger that a request is, what the status remembers once it is heeded, and the sentence on it."""

    trigger: Trigger
    then: Callable[[], Serving]
    message: str


Answer = Granted | Refusal
_NAMES: Mapping[Verb, str] = {verb: verb.value for verb in Verb} | {Verb.PROMOTE_FULL: "Promote (full)"}
"""How messages call the verbs."""
Judge = Callable[[Context, Request], Answer]


def decide(context: Context) -> Plan | None:
    """None while nothing is asked for, or nothing that this phase heeds."""
    request = context.pending
    if request is None:
        return _forget(context)
    answer = JUDGES[request.verb](context, request)
    if isinstance(answer, Refusal):
        message = f"{_NAMES[request.verb]} is refused: {answer.message}"
        return _handled(context, request, context.serving, RequestOutcome.REFUSED, message)
    if not context.serving.rules.reacts_to(answer.trigger) or _still_there(context, answer.trigger):
        return _forget(context)
    return _handled(context, request, answer.then(), RequestOutcome.DONE, answer.message)


def _handled(context: Context, request: Request, serving: Serving, outcome: RequestOutcome, message: str) -> Plan:
    handled = HandledRequest(
        id=request.id,
        verb=request.verb,
        outcome=outcome,
        message=one_line(message[:1].upper() + message[1:]),
        time=context.second,
    )
    reason = Reason.REQUESTED if outcome is RequestOutcome.DONE else Reason.REQUEST_REFUSED
    return context.announce(replace(serving, handled=handled), reason, message)


def _still_there(context: Context, trigger: Trigger) -> bool:
    """Another attempt changes the replicas' configuration, so it begins once Ray has let go of the last one."""
    key, target = context.observed.key, context.desired.target
    if trigger is not Trigger.RETRY or target == context.serving.stable:
        return False
    serve = context.serve_of(target)
    if not isinstance(serve, Known):
        return True
    return names.serve_application(key.namespace, key.name, target) in serve.value.applications


def _forget(context: Context) -> Plan | None:
    """What a person asked of a revision holds as long as the spec asks for that revision."""
    serving, target = context.serving, context.desired.target
    kept = tuple(entry for entry in serving.quarantine if not entry.is_by_request or entry.revision == target)
    rollback = serving.rollback if context.rollback is not None else None
    if (kept, rollback) == (serving.quarantine, serving.rollback):
        return None
    message = "The spec changed. A request for its previous revision no longer applies."
    return context.announce(replace(serving, quarantine=kept, rollback=rollback), Reason.REQUEST_FORGOTTEN, message)


# --- the candidate's verbs


def _candidate(context: Context, request: Request) -> Rollout | Refusal:
    """The rollout of the candidate that the request was meant for."""
    serving = context.serving
    asked_for = context.called(request.revision)
    if serving.candidate is None or serving.rollout is None:
        now = f"; {context.called(serving.stable)} is stable" if serving.stable is not None else ""
        return Refusal(message=f"the request is for {asked_for}, but there is no candidate{now}.")
    if serving.candidate != request.revision:
        return Refusal(
            message=f"the request is for {asked_for}, but the candidate is {context.called(serving.candidate)}."
        )
    return serving.rollout


def _promote(context: Context, request: Request) -> Answer:
    found = _going_on(context, request)
    if isinstance(found, Refusal):
        return found
    if request.step is not None and request.step != found.step:
        return Refusal(message=f"the request is for step {request.step + 1}, but step {found.step + 1} is in progress.")
    return _go_on(context, found, "Promote")


def _promote_full(context: Context, request: Request) -> Answer:
    found = _going_on(context, request)
    if isinstance(found, Refusal):
        return found
    if (broken := contract.broken(context, found)) is not None and not context.serving.rules.reacts_to(
        Trigger.PROMOTE_FULL
    ):
        return Refusal(message=f"{broken}; set spec.rollout.allowSignatureChange: true to allow it.")
    if isinstance(context.step_of(found), Batch):
        return Refusal(
            message=f"{_called(context)} is rolled out in batches (spec.rollout.rollingUpdate). Batches cannot be "
            "skipped, because the cluster may have no room for all replicas at once."
        )
    message = f"Promote (full) accepted: the remaining steps of {_called(context)} are skipped."
    return Granted(
        trigger=Trigger.PROMOTE_FULL,
        then=lambda: _unpaused(_after(context, Trigger.PROMOTE_FULL, message)),
        message=message,
    )


def _going_on(context: Context, request: Request) -> Rollout | Refusal:
    found = _candidate(context, request)
    if isinstance(found, Rollout) and context.desired.paused:
        return Refusal(message="spec.rollout.paused is true. Set it to false to continue.")
    return found


def _go_on(context: Context, found: Rollout, verb: str) -> Answer:
    """What the step waits for is over, and a person's pause as well."""
    is_waiting = steps.is_wait(context.step_of(found)) or _is_inconclusive(found)
    if is_waiting and context.serving.rules.reacts_to(Trigger.PROMOTE):
        what = f"the {_wait(context, found)} in step {found.step + 1} of {_called(context)}"
        message = f"{verb} accepted: {what} is over."
        return Granted(
            trigger=Trigger.PROMOTE,
            then=lambda: _unpaused(_after(context, Trigger.PROMOTE, message)),
            message=message,
        )
    return _release(context, found, verb)


def _wait(context: Context, found: Rollout) -> str:
    step = context.step_of(found)
    if isinstance(step, Pause):
        return "pause"
    return "wait" if isinstance(step, MinSamples) else "analysis"


def _is_inconclusive(found: Rollout) -> bool:
    return found.analysis is not None and found.analysis.phase is AnalysisPhase.INCONCLUSIVE


def _release(context: Context, found: Rollout, verb: str) -> Answer:
    """Ends a person's pause, or has an inconclusive analysis measured once more."""
    if _is_inconclusive(found) and not found.paused_by_request:
        retried = replace(context.serving, rollout=replace(found, analysis=None))
        message = f"{verb} accepted: {_called(context)} is measured again."
        return Granted(trigger=Trigger.RELEASE, then=lambda: retried, message=message)
    if not found.paused_by_request:
        where = f"{_where(context, found)}, with no pause and no inconclusive analysis"
        return Refusal(message=f"there is nothing to continue: {where}.")
    message = f"{verb} accepted: the rollout of {_called(context)} continues."
    return Granted(trigger=Trigger.RELEASE, then=lambda: _unpaused(context.serving), message=message)


def _where(context: Context, found: Rollout) -> str:
    count = len(context.steps)
    is_stepping = context.serving.rules.reacts_to(Trigger.PROMOTE) and found.step < count
    step = f", step {found.step + 1} of {count}" if is_stepping else ""
    return f"the rollout is in phase {found.phase.value}{step}"


def _pause(context: Context, request: Request) -> Answer:
    found = _candidate(context, request)
    if isinstance(found, Refusal):
        return found
    if found.paused_by_request:
        return Refusal(message=f"the rollout of {_called(context)} is already paused on request.")
    held = replace(context.serving, rollout=replace(found, paused_by_request=True))
    return Granted(
        trigger=Trigger.HOLD, then=lambda: held, message=f"Pause accepted: the rollout of {_called(context)} is paused."
    )


def _resume(context: Context, request: Request) -> Answer:
    found = _going_on(context, request)
    if isinstance(found, Refusal):
        return found
    is_release = found.paused_by_request or _is_inconclusive(found)
    return _release(context, found, "Resume") if is_release else _go_on(context, found, "Resume")


def _abort(context: Context, request: Request) -> Answer:
    found = _candidate(context, request)
    if isinstance(found, Refusal):
        return found
    called, stable = _called(context), context.serving.stable
    message = f"Aborted on request: {called} is withdrawn."
    if stable is None or not steps.is_to_be_restored(context):
        answer = f"Abort accepted: {called} is withdrawn."
        return Granted(trigger=Trigger.ABORTED, then=lambda: _aborted(context, message), message=answer)
    answer = (
        f"Abort accepted: {called} is removed in batches while {context.called(stable)} gets its replicas back. Abort "
        "again to return all traffic immediately."
    )
    return Granted(trigger=Trigger.RESTORE, then=lambda: _restored(context, message), message=answer)


def _restored(context: Context, message: str) -> Serving:
    """Capacity first, then traffic, as in any way back of batches; what is given up doesn't come back."""
    aborted, restoring = _aborted(context, message), _after(context, Trigger.RESTORE, message)
    return replace(restoring, quarantine=aborted.quarantine, rollback=aborted.rollback)


def _aborted(context: Context, message: str) -> Serving:
    """A way back that is aborted leaves no choice behind: what is stable stays, and is not given up."""
    serving = _after(context, Trigger.ABORTED, message)
    if not context.is_way_back:
        return serving
    kept = (context.serving.candidate, context.serving.stable)
    left = tuple(q for q in serving.quarantine if not (q.is_by_request and q.revision in kept))
    return replace(serving, quarantine=left, rollback=None)


# --- another revision than the desired one


def _retry(context: Context, request: Request) -> Answer:
    serving, target = context.serving, context.desired.target
    if request.revision != target:
        asked_for = context.called(request.revision)
        return Refusal(message=f"the request is for {asked_for}, but the spec asks for {context.called(target)}.")
    if serving.quarantined(target) is None:
        return Refusal(message=f"{context.called(target)} is not in quarantine.")
    last = serving.attempt_of(target)
    attempt = Attempt(revision=target, number=last.number + 1 if last is not None else 1, time=context.second)
    lifted = replace(serving, quarantine=tuple(q for q in serving.quarantine if q.revision != target), rollback=None)
    # What is stable already runs: another attempt would restart it.
    retried = lifted if target == serving.stable else lifted.with_attempt(attempt)
    message = f"Retry accepted: {context.called(target)} is no longer in quarantine."
    return Granted(trigger=Trigger.RETRY, then=lambda: retried, message=message)


def _rollback(context: Context, request: Request) -> Answer:
    serving, target = context.serving, context.desired.target
    leaving = serving.candidate or serving.stable
    if request.revision != leaving:
        now = f"the current revision is {context.called(leaving)}" if leaving is not None else "no revision serves"
        return Refusal(message=f"the request is for {context.called(request.revision)}, but {now}.")
    if target not in (serving.candidate, serving.stable) and serving.quarantined(target) is None:
        return Refusal(message=f"the spec now asks for {context.called(target)}, and its rollout has not begun.")
    found = _destination(context, request.number)
    if isinstance(found, Refusal):
        return found
    chosen_one, left = context.called(found.revision), context.called(target)
    message = f"Rolled back on request: {chosen_one} is used instead of {left}."
    given_up = Quarantine(revision=target, reason=Reason.ROLLED_BACK, message=message, time=context.second)
    chosen = replace(serving, rollback=Rollback(revision=found.revision, instead_of=target))
    if serving.quarantined(target) is None:
        chosen = replace(chosen, quarantine=advance.with_entry(serving.quarantine, given_up))
    answer = f"Rollback accepted: {chosen_one} replaces {left}."
    return Granted(trigger=Trigger.ROLLBACK, then=lambda: chosen, message=answer)


def _destination(context: Context, number: int | None) -> WantedRevision | Refusal:
    serving, kept = context.serving, context.desired.revisions
    if number is None:
        name = serving.stable if serving.candidate is not None else serving.previous_stable
        found = kept.get(name) if name is not None else None
        missing = "there is no earlier stable revision: use `--to NUMBER`."
    else:
        found = next((revision for revision in kept.values() if revision.number == number), None)
        missing = f"revision {number} is not kept."
    if found is None:
        return Refusal(message=missing)
    called = context.called(found.revision)
    if found.revision == context.desired.target:
        retry = f"kubectl fairlead retry {context.observed.key.name}"
        return Refusal(message=f"{called} is what the spec asks for. Run `{retry}` to start it again.")
    if found.revision == serving.stable and serving.candidate is None:
        return Refusal(message=f"{called} is stable already.")
    if found.revision == serving.candidate:
        return Refusal(message=f"{called} is the candidate already.")
    if (failed := serving.quarantined(found.revision)) is not None:
        return Refusal(message=f"{called} failed: {failed.reason}.")
    return found


JUDGES: Mapping[Verb, Judge] = {
    Verb.PROMOTE: _promote,
    Verb.PROMOTE_FULL: _promote_full,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.ABORT: _abort,
    Verb.RETRY: _retry,
    Verb.ROLLBACK: _rollback,
}


def _after(context: Context, trigger: Trigger, message: str) -> Serving:
    reason = Reason.ABORTED if trigger is Trigger.ABORTED else Reason.REQUESTED
    return advance.after(context, Verdict(trigger=trigger, reason=reason, message=message))


def _unpaused(serving: Serving) -> Serving:
    if serving.rollout is None:
        return serving
    return replace(serving, rollout=replace(serving.rollout, paused_by_request=False))


def _called(context: Context) -> str:
    return context.called(context.serving.candidate) if context.serving.candidate is not None else "no revision"
