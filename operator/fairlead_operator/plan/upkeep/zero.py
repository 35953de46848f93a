"""What is said of a model without a replica: at zero, and while its first replica is on its way."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.time import elapsed_s

_STARTS = frozenset({Reason.REPLICAS_LOST, Reason.REPLICAS_MISSING, Reason.REPLICAS_UNREACHABLE, Reason.SCALING})
"""What is said of a revision whose replicas are missing, and may be on their way."""


def in_hold(context: Context, plan: Plan | None) -> Plan | None:
    """The plan of a model whose first replica is on its way, while the gateways hold what comes for it."""
    stable, since = context.serving.stable, context.serving.short_since
    if plan is None or stable is None or since is None or (hold := traffic.hold(context, stable)) is None:
        return plan
    if elapsed_s(since, context.now) > hold.seconds or not _is_starting(context, plan, stable):
        return plan
    return replace(plan, reason=Reason.SCALING_FROM_ZERO)


def rest(context: Context) -> tuple[Reason, str] | None:
    """What is said of a model at zero; None for another one."""
    if context.serving.at_zero_since is None or context.serving.stable is None:
        return None
    called = context.called(context.serving.stable)
    return Reason.AT_ZERO, f"{called} has no replica, because the model gets no requests. The next request starts one."


def _is_starting(context: Context, plan: Plan, stable: str) -> bool:
    """Whether what is missing is the first replica."""
    return plan.reason in _STARTS and context.fewest_up(stable) == 0
