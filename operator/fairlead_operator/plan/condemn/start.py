"""Whether a candidate that Ray could not start, or gave up, is itself to blame for that."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan import failure
from fairlead_operator.plan.condemn import deadline
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.upkeep import attempts
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state import load_reasons
from fairlead_operator.state.load_reasons import Blame
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ApplicationStatus, ApplicationView


def find_given_up(context: Context, candidate: str) -> ApplicationView | None:
    """The application that Ray will do nothing more for, or that has lost all replicas; None where there is none."""
    view = context.application(candidate)
    if view is None:
        return None
    is_gone = view.status is ApplicationStatus.UNHEALTHY and view.running_replicas == 0
    return view if is_gone or view.status is ApplicationStatus.DEPLOY_FAILED else None


def given_up(context: Context, rollout: Rollout) -> Condemned | None:
    """With traffic a candidate may stumble: beside a stable revision only Ray's final word counts."""
    stable, candidate = context.serving.stable, context.serving.candidate
    view = find_given_up(context, candidate) if candidate is not None else None
    if candidate is None or view is None or candidate not in context.desired.revisions:
        return None
    is_final = view.status is ApplicationStatus.DEPLOY_FAILED
    if context.serving.rules.moves_traffic and stable is not None and not is_final:
        return None
    failed = failure.read_failure(view.message)
    if not _is_its_own_fault(context, rollout, candidate, load_reasons.blame_for(failed.reason)):
        return None
    reason = Reason.DEPLOY_FAILED if is_final else Reason.APPLICATION_UNHEALTHY
    return Condemned(reason=reason, message=failed.message, word=failed.reason)


def _is_its_own_fault(context: Context, rollout: Rollout, candidate: str, blame: Blame) -> bool:
    """Once it was proved, what befalls both revisions at once is the fault of neither."""
    stable = context.serving.stable
    is_other_ready = stable is None or context.is_running(stable)
    match blame:
        case Blame.MODEL:
            return is_other_ready or not rollout.proved
        case Blame.ENVIRONMENT:
            return _is_given_up_for_the_last(context, candidate)
        case Blame.ADDRESS:
            return _has_had_its_tries(context, rollout, candidate) or _is_given_up_for_the_last(context, candidate)
        case Blame.UNKNOWN:
            return is_other_ready


def _has_had_its_tries(context: Context, rollout: Rollout, candidate: str) -> bool:
    """An address that gives nothing, beside a stable revision that runs: tried again within the progress deadline."""
    if not attempts.is_bounded(context, candidate):
        return False
    return attempts.is_blocked(context, candidate) or deadline.is_late(context, rollout)


def _is_given_up_for_the_last(context: Context, candidate: str) -> bool:
    """With nothing stable a revision that served before is better than one that can't be started for minutes."""
    serving, last = context.serving, context.serving.last_stable
    if serving.stable is not None or last is None or last == candidate or serving.quarantined(last):
        return False
    return last in context.desired.revisions and attempts.is_blocked(context, candidate)
