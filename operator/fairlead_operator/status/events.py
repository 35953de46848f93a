"""What just became so, one sentence each: from the difference between the status read and the one to be written."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.api.status import Condition, ConditionStatus, RequestOutcome, RolloutPhase
from fairlead_operator.state.actions import CreateRevision, DeleteRevision, Done, Event
from fairlead_operator.state.consequences import consequence_of, with_advice
from fairlead_operator.state.reasons import ConditionType, EventType, Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.status import conditions
from fairlead_operator.status.pass_result import PassResult

_WARNINGS = (ConditionType.DEGRADED, ConditionType.STALLED, ConditionType.DRIFT_DETECTED)


def events_of_pass(result: PassResult, settled: tuple[Condition, ...]) -> tuple[Event, ...]:
    """The events of a pass, in the order in which things happened."""
    return (*_done(result), *_rollout(result, result.view.serving), *_conditions(result, settled))


def _normal(reason: Reason, message: str) -> Event:
    return Event(type=EventType.NORMAL, reason=reason, message=conditions.sentence(message))


def _warning(reason: Reason, message: str) -> Event:
    return Event(type=EventType.WARNING, reason=reason, message=conditions.sentence(message))


def _done(result: PassResult) -> list[Event]:
    if not isinstance(result.outcome, Done):
        return []
    match result.plan.action:
        case CreateRevision(name=name, number=number, revision=revision):
            message = f"Created ControllerRevision {name} of revision {number} ({revision})."
        case DeleteRevision(name=name, revision=revision):
            message = f"Deleted {result.called(revision)} from the revision history (ControllerRevision {name})."
        case _:
            return []
    return [_normal(result.plan.reason, message)]


def _rollout(result: PassResult, before: Serving) -> list[Event]:
    after, plan, events = result.serving, result.plan, _requested(result, before)
    known = {entry.revision for entry in before.quarantine}
    for entry in after.quarantine:
        if entry.revision not in known and not entry.is_by_request:
            words = f"{entry.reason}: {entry.message}".rstrip(".")
            events.append(_warning(Reason.ROLLOUT_FAILED, f"{result.called(entry.revision)} failed: {words}."))
    if (note := _proof_note(after)) is not None and _proof_note(before) is None:
        events.append(_normal(Reason.EXAMPLE_REFUSED, f"{result.called(str(after.candidate))} {note}"))
    if (unclear := _inconclusive(after)) is not None and _inconclusive(before) is None:
        words = f"The analysis of {result.called(str(after.candidate))} is inconclusive: {unclear}"
        words = with_advice(Reason.ANALYSIS_INCONCLUSIVE, words, name=result.view.name)
        events.append(_warning(Reason.ANALYSIS_INCONCLUSIVE, words))
    if after.candidate is not None and after.candidate != before.candidate:
        events.append(_normal(Reason.ROLLOUT_STARTED, plan.message))
    if after.stable is not None and after.stable != before.stable:
        events.append(_stable(result, before, after.stable))
    if result.consequence.event is not None and _but_measured(plan.serving) != _but_measured(before):
        events.append(
            Event(type=result.consequence.event, reason=plan.reason, message=conditions.sentence(plan.message))
        )
    is_retiring = after.phase is RolloutPhase.RETIRING and before.phase is not RolloutPhase.RETIRING
    if is_retiring and not result.view.is_deleting:
        events.append(_normal(Reason.SUSPENDED, plan.message))
    return events


def _but_measured(serving: Serving) -> Serving:
    """A measurement is no event: what it leads to is."""
    return replace(serving, rollout=replace(serving.rollout, analysis=None)) if serving.rollout is not None else serving


def _proof_note(serving: Serving) -> str | None:
    """What is said of a candidate that is proved although the model rejected the test prediction."""
    rollout = serving.rollout
    if rollout is None or not rollout.proved or not rollout.proof_message:
        return None
    return f"passed its test prediction, but the model rejected the generated input: {rollout.proof_message}"


def _inconclusive(serving: Serving) -> str | None:
    run = serving.rollout.analysis if serving.rollout is not None else None
    return run.message if run is not None and run.phase is AnalysisPhase.INCONCLUSIVE else None


def _stable(result: PassResult, before: Serving, stable: str) -> Event:
    is_desired_again = result.plan.reason is Reason.PROMOTED
    if before.rules.keeps_warm and stable == before.leaving and not is_desired_again:
        message = f"{result.called(stable)} was still warm and gets all traffic again."
        return _normal(Reason.ROLLED_BACK_AUTOMATICALLY, message)
    return _normal(Reason.PROMOTED, result.plan.message)


def _requested(result: PassResult, before: Serving) -> list[Event]:
    handled = result.serving.handled
    if handled is None or handled == before.handled:
        return []
    make = _warning if handled.outcome is RequestOutcome.REFUSED else _normal
    return [make(result.plan.reason, handled.message)]


def _conditions(result: PassResult, settled: tuple[Condition, ...]) -> list[Event]:
    """A failed rollout has its own event, and Unknown is events by the condition alone."""
    before = {c.type: c for c in result.view.status.conditions}
    events: list[Event] = []
    reasons: set[Reason] = set()
    for condition in settled:
        if condition.type not in _WARNINGS:
            continue
        reason = Reason(condition.reason)
        if consequence_of(reason).has_own_event or reason in reasons:
            continue
        old = before.get(condition.type)
        was_true = old is not None and old.status is ConditionStatus.TRUE
        if condition.status is ConditionStatus.TRUE and not was_true:
            events.append(_warning(reason, condition.message))
            reasons.add(reason)
    return events
