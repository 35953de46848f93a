"""What just became so, one sentence each: from the difference between the status read and the one to be written."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.api.status import Condition, ConditionStatus, RequestOutcome, RolloutPhase
from fairlead_operator.state.actions import CreateRevision, DeleteRevision, Done, Event
from fairlead_operator.state.reasons import ConditionType, EventType, Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.status import conditions
from fairlead_operator.status.pass_result import PassResult

_TOLD_AS_DECIDED = frozenset(
    {
        Reason.SUPERSEDED,
        Reason.REVERTED,
        Reason.RAY_RESTARTED,
        Reason.ROLLOUT_COMPLETE,
        Reason.REMOVED,
        Reason.RESTARTED,
        Reason.WATCHED,
        Reason.INSUFFICIENT_CAPACITY,
        Reason.REQUEST_FORGOTTEN,
        Reason.ANALYSIS_SUCCESSFUL,
        Reason.ANALYSIS_IGNORED,
    }
)
_WARNINGS = (ConditionType.DEGRADED, ConditionType.STALLED)


def of(result: PassResult, settled: tuple[Condition, ...]) -> tuple[Event, ...]:
    """The events of a pass, in the order in which things happened."""
    return (*_done(result), *_rollout(result, recall(result.view.status)), *_conditions(result, settled))


def _normal(reason: Reason, message: str) -> Event:
    return Event(type=EventType.NORMAL, reason=reason, message=conditions.sentence(message))


def _warning(reason: Reason, message: str) -> Event:
    return Event(type=EventType.WARNING, reason=reason, message=conditions.sentence(message))


def _done(result: PassResult) -> list[Event]:
    if not isinstance(result.outcome, Done):
        return []
    match result.plan.action:
        case CreateRevision() | DeleteRevision():
            return [_normal(result.plan.reason, result.plan.message)]
        case _:
            return []


def _rollout(result: PassResult, before: Serving) -> list[Event]:
    after, plan, told = result.serving, result.plan, _requested(result, before)
    known = {entry.revision for entry in before.quarantine}
    for entry in after.quarantine:
        if entry.revision not in known and not entry.is_by_request:
            words = f"{entry.reason}: {entry.message}".rstrip(".")
            told.append(_warning(Reason.ROLLOUT_FAILED, f"{result.called(entry.revision)} failed: {words}."))
    if (note := _proof_note(after)) is not None and _proof_note(before) is None:
        told.append(_normal(Reason.EXAMPLE_REFUSED, f"{result.called(str(after.candidate))} is ready. {note}"))
    if (unclear := _inconclusive(after)) is not None and _inconclusive(before) is None:
        told.append(_warning(Reason.ANALYSIS_INCONCLUSIVE, unclear))
    if after.candidate is not None and after.candidate != before.candidate:
        told.append(_normal(Reason.ROLLOUT_STARTED, plan.message))
    if after.stable is not None and after.stable != before.stable:
        told.append(_stable(result, before, after.stable))
    if plan.reason in _TOLD_AS_DECIDED and _but_measured(plan.serving) != _but_measured(before):
        told.append(_normal(plan.reason, plan.message))
    if after.phase is RolloutPhase.RETIRING and before.phase is not RolloutPhase.RETIRING:
        told.append(_normal(Reason.SUSPENDED, plan.message))
    return told


def _but_measured(serving: Serving) -> Serving:
    """A measurement is no event: what it leads to is."""
    return replace(serving, rollout=replace(serving.rollout, analysis=None)) if serving.rollout is not None else serving


def _proof_note(serving: Serving) -> str | None:
    """Why the example of a proved candidate was not answered in full."""
    rollout = serving.rollout
    if rollout is None or not rollout.proved or not rollout.proof_message:
        return None
    return f"Its example was not answered in full: {rollout.proof_message}"


def _inconclusive(serving: Serving) -> str | None:
    run = serving.rollout.analysis if serving.rollout is not None else None
    return run.message if run is not None and run.phase is AnalysisPhase.INCONCLUSIVE else None


def _stable(result: PassResult, before: Serving, stable: str) -> Event:
    if before.rules.keeps_warm and stable == before.leaving:
        return _normal(Reason.TAKEN_BACK, f"{result.called(stable)} was still warm and takes all traffic back.")
    return _normal(Reason.PROMOTED, result.plan.message)


def _requested(result: PassResult, before: Serving) -> list[Event]:
    handled = result.serving.handled
    if handled is None or handled == before.handled:
        return []
    tell = _warning if handled.outcome is RequestOutcome.REFUSED else _normal
    return [tell(result.plan.reason, handled.message)]


def _conditions(result: PassResult, settled: tuple[Condition, ...]) -> list[Event]:
    """A failed rollout has its own event, and Unknown is told by the condition alone."""
    before = {c.type: c for c in result.view.status.conditions}
    told: list[Event] = []
    reasons: set[str] = set()
    for condition in settled:
        if condition.type not in _WARNINGS or condition.reason in (*conditions.GIVEN_UP, *reasons):
            continue
        old = before.get(condition.type)
        was_true = old is not None and old.status is ConditionStatus.TRUE
        if condition.status is ConditionStatus.TRUE and not was_true:
            told.append(_warning(Reason(condition.reason), condition.message))
            reasons.add(condition.reason)
    return told
