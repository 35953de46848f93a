"""What the phases wait for in which a revision leaves: confirmed without traffic, drained, taken from the gateways."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import goal, watching
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger


def promoting(context: Context, rollout: Rollout) -> Plan | Verdict:
    """Every gateway has to say that the promoted revision takes all traffic."""
    waiting = traffic.ensure(context, traffic.entry(context), is_last_resort=_is_another_desired(context))
    if waiting is not None:
        return waiting
    if rollout.leaving is not None:
        return _kept_warm(context, rollout.leaving) if _stays_warm(context, rollout) else _gone_quiet(context, rollout)
    stable = context.serving.stable
    message = f"{context.called(stable) if stable is not None else 'No revision'} takes all traffic on every gateway."
    return Verdict(trigger=Trigger.DONE, reason=Reason.ROLLOUT_COMPLETE, message=message)


def _stays_warm(context: Context, rollout: Rollout) -> bool:
    """Not one that batches have taken replicas from: it could not take all traffic back."""
    return watching.is_desired(context) and rollout.replicas is None


def _kept_warm(context: Context, warm: str) -> Verdict:
    message = (
        f"Every gateway confirmed the promotion; {context.called(warm)} stays warm for {context.desired.warm_s} s."
    )
    return Verdict(trigger=Trigger.WATCH, reason=Reason.ROLLBACK_WINDOW_OPEN, message=message)


def withdrawing(context: Context, rollout: Rollout) -> Plan | Verdict:
    """Every gateway has to say that the withdrawn revision takes no traffic."""
    is_last_resort = _is_another_desired(context)
    waiting = traffic.ensure(context, traffic.entry(context), is_last_resort=is_last_resort)
    return waiting or _gone_quiet(context, rollout)


def _is_another_desired(context: Context) -> bool:
    """Whether neither revision is to stay: then a stable one that is not ready must not hold up the next.

    Where the status can't keep a rollout there is no next one.
    """
    if context.observed.drops_rollout:
        return False
    goal_revision = goal.choose_revision(context)
    return goal_revision is not None and goal_revision not in context.serving.active


def _gone_quiet(context: Context, rollout: Rollout) -> Verdict:
    message = f"{_called(context, rollout)} gets no new requests and completes those in flight."
    return Verdict(trigger=Trigger.READY, reason=Reason.DRAINING, message=message)


def draining(context: Context, rollout: Rollout) -> Plan | Verdict:
    """No request in flight on any gateway, or long enough waited for one that doesn't end."""
    waiting = traffic.ensure(context, traffic.entry(context))
    if waiting is not None:
        return waiting
    sessions = context.sessions(rollout.leaving) if rollout.leaving is not None else 0
    if sessions is None:
        return context.wait_for_gateways()
    called = _called(context, rollout)
    if sessions and context.since_step_s(rollout) <= context.bounds.drain_s:
        return context.wait(Reason.DRAINING, f"Waiting for the requests in flight at {called} to complete.")
    rest = f" with {sessions} requests in flight after {context.bounds.drain_s} s" if sessions else ""
    message = f"{called} is removed from the gateways{rest}."
    return Verdict(trigger=Trigger.READY, reason=Reason.REMOVING, message=message)


def removing(context: Context, rollout: Rollout) -> Plan | Verdict:
    """Every gateway has to say that it no longer knows the revision; only then its replicas go."""
    waiting = traffic.ensure(context, traffic.entry(context))
    if waiting is not None:
        return waiting
    message = f"{_called(context, rollout)} is removed from every gateway. Its replicas stop."
    return Verdict(trigger=Trigger.READY, reason=Reason.REMOVED, message=message)


def _called(context: Context, rollout: Rollout) -> str:
    return context.called(rollout.leaving) if rollout.leaving is not None else "no revision"
