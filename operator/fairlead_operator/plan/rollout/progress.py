"""The count of the progress deadline is moved on by passes that saw everything in order.

Ray was read and has taken the configuration, the gateways were read and have the route, and the stable revision is
ready. ``condemn.deadline`` judges by the count.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.condemn.deadline import counted_s, is_possible, tick_s
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import steps
from fairlead_operator.plan.upkeep import attempts
from fairlead_operator.state.actions import NudgeServe, Plan, Wait
from fairlead_operator.state.consequences import consequence_of
from fairlead_operator.state.reasons import Reason


def count(context: Context, rollout: Rollout, plan: Plan) -> Plan:
    """The plan of a pass that waits, with the count moved on where it is due."""
    if not _is_counted(context, rollout, plan):
        return plan
    at, tick = rollout.progress_at, tick_s(context)
    since_s = (context.now - at).total_seconds() if at is not None else None
    if since_s is not None and 0 <= since_s < tick:
        return replace(plan, requeue_after_s=min(plan.requeue_after_s, tick - since_s))
    moved = replace(rollout, progress_s=int(counted_s(context, rollout)), progress_at=context.second)
    run = plan.serving.rollout.analysis if plan.serving.rollout is not None else None
    serving = replace(plan.serving, rollout=replace(moved, analysis=run))
    return replace(plan, serving=serving, requeue_after_s=min(plan.requeue_after_s, tick))


def _is_counted(context: Context, rollout: Rollout, plan: Plan) -> bool:
    rules = context.serving.rules
    if not isinstance(plan.action, Wait | NudgeServe):
        return False
    after = plan.serving.rollout
    if after is None or replace(after, analysis=rollout.analysis) != rollout or _is_held_up(context, plan):
        return False
    if rules.moves_traffic and not (steps.is_growing(context, rollout) and plan.reason is rules.reason):
        return False
    return is_possible(context)


def _is_held_up(context: Context, plan: Plan) -> bool:
    """Whether something else than the candidate is waited for; an address that gives nothing is the candidate's own."""
    candidate = context.serving.candidate
    if plan.reason is Reason.START_RETRIED and candidate is not None and attempts.is_bounded(context, candidate):
        return False
    return consequence_of(plan.reason).stops_deadline
