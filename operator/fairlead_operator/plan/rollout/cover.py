"""A candidate with traffic takes all of it while the stable revision can answer none: the cure must not be held back.

The steps stay where they are, and the shares come back with the stable revision.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.time import elapsed_s


def look(context: Context, rollout: Rollout) -> Plan | None:
    """Remembers since when the stable revision answers nothing, and waits until that is certain."""
    stable, candidate = context.serving.stable, context.serving.candidate
    if stable is None or candidate is None or not context.gateways:
        return None
    called = context.called(stable)
    if rollout.stable_lost_at is None:
        if context.most_up(stable) != 0 or not context.fewest_up(candidate):
            return None
        message = f"No gateway has a ready replica of {called}, the stable revision."
        return _remember(context, replace(rollout, stable_lost_at=context.second), Reason.REPLICAS_MISSING, message)
    if context.fewest_up(stable):
        ready = replace(rollout, stable_lost_at=None)
        return _remember(context, ready, Reason.SHIFTING, f"{called} is ready again. The traffic is shared as before.")
    if traffic.is_covered(context):
        return None
    left_s = context.bounds.lost_s - max(0.0, elapsed_s(rollout.stable_lost_at, context.now))
    then = f"If this lasts for {context.bounds.lost_s:g} s, {context.called(candidate)} gets all requests"
    message = f"No gateway has a ready replica of {called}. {then}."
    return context.wait(Reason.REPLICAS_MISSING, message, requeue_after_s=min(left_s, context.bounds.unknown_s))


def _remember(context: Context, rollout: Rollout, reason: Reason, message: str) -> Plan:
    """What was counted in the meantime can't be compared: the analysis continues from the next reading."""
    run = rollout.analysis
    if run is not None:
        rollout = replace(rollout, analysis=run.without_marks())
    return context.announce(replace(context.serving, rollout=rollout), reason, message)
