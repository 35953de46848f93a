"""The progress deadline counts only time in which the candidate could have got on.

The count is kept in the status and moved on by passes that saw everything in order: Ray was read and has taken the
configuration, the gateways were read and have the route, and the stable revision is ready. Between two of them at most
``CAP_TICKS`` ticks are counted, so neither an operator that was away nor a clock that jumped uses the deadline up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import steps
from fairlead_operator.plan.upkeep import attempts
from fairlead_operator.state.actions import NudgeServe, Plan, Wait
from fairlead_operator.state.consequences import consequence_of
from fairlead_operator.state.phases import Evidence
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout

TICK_MAX_S = 30.0
TICKS_OF_A_DEADLINE = 15
CAP_TICKS = 2


def tick_s(context: Context) -> float:
    """How often the count is written: rarely, as each is a write of the status."""
    return max(1.0, min(TICK_MAX_S, context.desired.progress_deadline_s / TICKS_OF_A_DEADLINE))


def counted_s(context: Context, rollout: Rollout) -> float:
    """Seconds in which the candidate could have got on, with those since the last count."""
    if rollout.progress_at is None:
        return rollout.progress_s
    since_s = (context.now - rollout.progress_at).total_seconds()
    return rollout.progress_s + max(0.0, min(since_s, CAP_TICKS * tick_s(context)))


def is_late(context: Context, rollout: Rollout) -> bool:
    """Whether the candidate had its time; never while the other revision isn't ready either."""
    return is_possible(context) and counted_s(context, rollout) > context.desired.progress_deadline_s


def is_possible(context: Context) -> bool:
    """Whether nothing but the candidate itself is waited for."""
    progress = context.serving.rules.progress
    if progress is None:
        return False
    awaited = context.serving.revision_at(progress.place)
    if awaited is None or context.application(awaited) is None or context.is_blamed_on_all(awaited):
        return False
    match progress.needs:
        case Evidence.RAY:
            return True
        case Evidence.GATEWAYS:
            return bool(context.gateways)
        case Evidence.ROUTE:
            return bool(context.gateways) and traffic.ensure(context, traffic.entry(context)) is None
    assert_never(progress.needs)


def count(context: Context, rollout: Rollout, plan: Plan) -> Plan:
    """The plan of a pass that waits, with the count moved on where it is due."""
    if not _is_counted(context, rollout, plan):
        return plan
    at, tick = rollout.progress_at, tick_s(context)
    since_s = (context.now - at).total_seconds() if at is not None else None
    if since_s is not None and 0 <= since_s < tick:
        return replace(plan, requeue_after_s=min(plan.requeue_after_s, tick - since_s))
    moved = replace(rollout, progress_s=int(counted_s(context, rollout)), progress_at=context.second)
    serving = replace(plan.serving, rollout=moved)
    return replace(plan, serving=serving, requeue_after_s=min(plan.requeue_after_s, tick))


def _is_counted(context: Context, rollout: Rollout, plan: Plan) -> bool:
    rules = context.serving.rules
    if not isinstance(plan.action, Wait | NudgeServe):
        return False
    if plan.serving.rollout != rollout or _is_held_up(context, plan):
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
