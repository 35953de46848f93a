"""After a promotion the revision before stays warm for a while: in the route without traffic, one map change away."""

from __future__ import annotations

import datetime
from dataclasses import replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import traffic
from fairlead_operator.plan.condemn import after_promotion, chain, readiness
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import goal
from fairlead_operator.plan.upkeep import steady
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan, Wait
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger

LOOK_AGAIN_S = 2.0
"""A watched revision is looked at this often."""


def is_desired(context: Context) -> bool:
    """Whether the revision that a promotion leaves behind stays warm; another desired revision would need its place."""
    is_the_goal = goal.choose_revision(context) == context.serving.stable
    return context.desired.warm_s > 0 and context.desired.replicas > 0 and is_the_goal


def watching(context: Context, rollout: Rollout) -> Plan | Verdict:
    """Ends with the time, with another desired revision, or with a return to the warm one."""
    stable, warm = context.serving.stable, rollout.leaving
    if stable is None or warm is None or warm not in context.desired.revisions:
        return _end("no revision stays warm")
    if goal.choose_revision(context) == warm:
        return _take_back(context, warm) or traffic.ensure(context, traffic.entry(context)) or _return(context, warm)
    left_s = context.desired.warm_s - context.since_step_s(rollout)
    if not is_desired(context) or left_s <= 0:
        gone = f"{context.called(warm)} is no longer kept warm and completes its requests"
        return after_promotion.ignored(context, rollout) or _end(gone)
    return (
        after_promotion.interrupted(context, rollout, stable)
        or chain.find(context, rollout)
        or readiness.follow(context, rollout)
        or _measure(
            context,
            rollout,
            traffic.ensure(context, traffic.entry(context))
            or _replicas(context, stable)
            or _wait(context, rollout, warm, left_s),
        )
    )


def _replicas(context: Context, stable: str) -> Plan | None:
    return steady.replicas(context, context.desired.revisions[stable])


def _measure(context: Context, rollout: Rollout, plan: Plan) -> Plan:
    """What it answers is measured within the rollback window, also while it waits for more replicas or a gateway."""
    analysis = after_promotion.find_analysis(context, rollout)
    if analysis is None or not isinstance(plan.action, Wait):
        return plan
    rollout = replace(rollout, analysis=after_promotion.measured(context, rollout, analysis))
    due_s = after_promotion.next_look_s(context, rollout, analysis)
    serving = replace(plan.serving, rollout=rollout)
    return replace(plan, serving=serving, requeue_after_s=min(plan.requeue_after_s, due_s))


def _take_back(context: Context, warm: str) -> Verdict | None:
    """None while the warm revision isn't seen ready by every gateway that can be read."""
    if not context.fewest_seen_up(warm):
        return None
    message = f"{context.called(warm)} is desired again. It is still warm and gets all traffic."
    return Verdict(trigger=Trigger.TAKEN_BACK, reason=Reason.PROMOTED, message=message)


def _return(context: Context, warm: str) -> Verdict:
    """It has lost its replicas: it comes back as any candidate does."""
    message = f"{context.called(warm)} is desired again, but has no ready replica left."
    return Verdict(trigger=Trigger.RETURNED, reason=Reason.ROLLOUT_STARTED, message=message)


def _end(message: str) -> Verdict:
    return Verdict(trigger=Trigger.READY, reason=Reason.DRAINING, message=f"{message}.")


def _wait(context: Context, rollout: Rollout, warm: str, left_s: float) -> Plan:
    until = rollout.step_started_at + datetime.timedelta(seconds=context.desired.warm_s)
    stable = context.serving.stable or warm
    message = (
        f"{context.called(stable)} serves; {context.called(warm)} stays warm without traffic until "
        f"{until:%Y-%m-%dT%H:%M:%SZ}."
    )
    return context.wait(Reason.ROLLBACK_WINDOW_OPEN, message, requeue_after_s=min(left_s, LOOK_AGAIN_S))
