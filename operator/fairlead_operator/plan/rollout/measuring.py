"""The analysis beside a step: a verdict, a wait for a person, or what the step does next once its weight is confirmed.

While a gateway can't be read, or more replicas come, it goes on at the weight that the gateways have.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.analysis_status import AnalysisPhase, Run
from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import traffic
from fairlead_operator.plan.condemn import counting
from fairlead_operator.plan.condemn.analysis import find_analysis, is_comparable, is_measurable, measured
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import steps
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state import question
from fairlead_operator.state.actions import NudgeServe, Plan, Wait
from fairlead_operator.state.analysis import Analysis
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason


def following(context: Context, rollout: Rollout, called: str) -> Plan | Verdict:
    """What follows the step whose weight is confirmed, with the analysis in it."""
    analysis = find_analysis(context, rollout)
    if analysis is None:
        return steps.following(context, rollout, called)
    if (holds := _compares_with_nothing(context, rollout, called)) is not None:
        return holds
    run = measured(context, rollout, analysis)
    rollout = replace(rollout, analysis=run)
    context = replace(context, serving=replace(context.serving, rollout=rollout))
    judged = _held(context, run, analysis, called) or steps.following(context, rollout, called)
    if isinstance(judged, Verdict):
        judged = _unread(context, analysis) or replace(judged, run=run)
    return _until_due(context, rollout, analysis, judged) if isinstance(judged, Plan) else judged


def beside(context: Context, rollout: Rollout, waits: Plan) -> Plan:
    """A pass that waits, for a gateway or for replicas, with the measurement at the weight that the gateways have."""
    analysis = find_analysis(context, rollout)
    if analysis is None or not isinstance(waits.action, Wait | NudgeServe) or waits.serving.rollout != rollout:
        return waits
    run = rollout.analysis
    if is_measurable(context, rollout):
        run = measured(context, rollout, analysis)
    elif run is not None and context.gateways is None and not is_comparable(context, rollout):
        run = run.without_marks()
    rollout = replace(rollout, analysis=run)
    return _until_due(context, rollout, analysis, replace(waits, serving=replace(waits.serving, rollout=rollout)))


def start_at_new_weight(context: Context, rollout: Rollout) -> Plan | None:
    """A run holds the counts of one weight: what was counted while more replicas came is left out of the step's own."""
    run, route, candidate = rollout.analysis, context.observed.route, context.serving.candidate
    if run is None or not run.marks or not isinstance(route, Known) or candidate is None:
        return None
    if route.value.weights().get(candidate, 0) == traffic.entry(context).candidate_weight:
        return None
    called = context.called(candidate)
    message = f"The share of {called} changes. The analysis starts from zero."
    serving = replace(context.serving, rollout=replace(rollout, analysis=None))
    return context.announce(serving, Reason.SHIFTING, message)


def _compares_with_nothing(context: Context, rollout: Rollout, called: str) -> Plan | None:
    """Nothing is measured while the stable revision isn't ready."""
    stable = context.serving.stable
    if stable is None or is_comparable(context, rollout):
        return None
    if rollout.stable_lost_at is None:
        message = f"No gateway has a ready replica of {context.called(stable)}. The analysis waits until it has one."
        return context.wait(Reason.REPLICAS_MISSING, message)
    message = (
        f"{called} gets all requests, because no gateway has a ready replica of {context.called(stable)}. The operator "
        "restarts it. The analysis continues when it is ready."
    )
    return context.wait(Reason.STABLE_UNAVAILABLE, message)


def _held(context: Context, run: Run | None, analysis: Analysis, called: str) -> Plan | None:
    """After an inconclusive analysis a person decides."""
    if run is None or run.phase is not AnalysisPhase.INCONCLUSIVE or analysis.is_dry_run:
        return None
    message = f"The analysis of {called} is inconclusive: {run.message}"
    return context.wait(Reason.ANALYSIS_INCONCLUSIVE, message)


def _unread(context: Context, analysis: Analysis) -> Plan | None:
    """Nothing moves on while the measurements can't be had: UNKNOWN never leads to a promotion."""
    why = counting.why_unread(context) if not analysis.is_dry_run else None
    return context.wait_unknown(Reason.ANALYSING, f"Cannot read the measurements: {why}") if why is not None else None


def _until_due(context: Context, rollout: Rollout, analysis: Analysis, plan: Plan) -> Plan:
    due_s = (question.due_at(analysis, rollout.step_started_at, rollout.analysis) - context.now).total_seconds()
    # Counters that didn't move are no measurement: the next look is an interval away.
    next_s = due_s if due_s > 0 else float(analysis.interval_s)
    return replace(plan, requeue_after_s=min(plan.requeue_after_s, next_s))
