"""The progress deadline counts only time in which the candidate could have got on.

The count is kept in the status and moved on by passes that saw everything in order: Ray was read and has taken the
configuration, the gateways were read and have the route, and the stable revision is ready. Between two of them at most
``CAP_TICKS`` ticks are counted, so neither an operator that was away nor a clock that jumped uses the deadline up.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import steps
from fairlead_operator.plan.upkeep import attempts
from fairlead_operator.state.actions import NudgeServe, Plan, Wait
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout

TICK_MAX_S = 30.0
TICKS_OF_A_DEADLINE = 15
CAP_TICKS = 2

_COUNTED = (Phase.STARTING, Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING, Phase.RESTORING)
_NOT_WORKING = frozenset(
    {
        *(Reason.PAUSED, Reason.SIGNATURE_CHANGED, Reason.ANALYSIS_INCONCLUSIVE, Reason.REVISION_LOST),
        *(Reason.RAY_UNREACHABLE, Reason.GATEWAY_UNREACHABLE, Reason.NO_GATEWAY, Reason.RAY_REFUSED),
        *(Reason.START_RETRIED, Reason.START_BLOCKED, Reason.STABLE_LOST),
    }
)


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
    return is_possible(context, rollout) and counted_s(context, rollout) > context.desired.progress_deadline_s


def is_possible(context: Context, rollout: Rollout) -> bool:
    """Whether nothing but the candidate itself is waited for."""
    moving = context.serving.stable if rollout.phase is Phase.RESTORING else context.serving.candidate
    if moving is None or context.application(moving) is None or context.is_blamed_on_all(moving):
        return False
    if rollout.phase is Phase.STARTING:
        return True
    if not context.gateways:
        return False
    # A step that grows writes its route only once the replicas are there.
    is_routed_first = rollout.phase not in (Phase.SHIFTING, Phase.RESTORING)
    return not is_routed_first or traffic.ensure(context, traffic.entry(context)) is None


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
    if rollout.phase not in _COUNTED or not isinstance(plan.action, Wait | NudgeServe):
        return False
    if plan.serving.rollout != rollout or _is_held_up(context, plan):
        return False
    if rollout.phase is Phase.SHIFTING and not (steps.is_growing(context, rollout) and plan.reason is Reason.SHIFTING):
        return False
    return is_possible(context, rollout)


def _is_held_up(context: Context, plan: Plan) -> bool:
    """Whether something else than the candidate is waited for; an address that gives nothing is the candidate's own."""
    candidate = context.serving.candidate
    if plan.reason is Reason.START_RETRIED and candidate is not None and attempts.is_bounded(context, candidate):
        return False
    return plan.reason in _NOT_WORKING
