"""Whether a candidate is condemned over its evaluation record, which its replica reports with the proof."""

from __future__ import annotations

from fairlead_operator.api.evaluation import RequireEvaluation
from fairlead_operator.api.evaluation_status import Evaluation, EvaluationOutcome
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state.reasons import Reason


def requirement(context: Context) -> RequireEvaluation | None:
    """What the candidate's record has to show.

    None where the spec requires nothing, and for a revision that was stable before: a way back, or the start of what
    was stopped, must not fail for a record.
    """
    serving = context.serving
    is_known = context.is_way_back or serving.candidate in (serving.previous_stable, serving.last_stable)
    return None if is_known else context.desired.require_evaluation


def is_unread(context: Context, rollout: Rollout) -> bool:
    """Whether a record is required and nothing is known of it: the proof asks for it."""
    return rollout.evaluation is None and requirement(context) is not None


def is_proved(context: Context, rollout: Rollout) -> bool:
    """Whether the proof has nothing left to ask."""
    return rollout.proved and not is_unread(context, rollout)


def unmet(context: Context, rollout: Rollout) -> Condemned | None:
    """The record that the replica found does not show what is required, or there is none."""
    candidate, required, found = context.serving.candidate, requirement(context), rollout.evaluation
    if candidate is None or required is None or found is None or not rollout.proved:
        return None
    why = _shortfall(required, found)
    if why is None:
        return None
    message = (
        f"{context.called(candidate)} does not meet spec.rollout.requireEvaluation "
        f"({required.metric} of at least {required.min:g}): {why}"
    )
    return Condemned(reason=Reason.EVALUATION_NOT_MET, message=one_line(message))


def _shortfall(required: RequireEvaluation, found: Evaluation) -> str | None:
    """The lower bound counts, not the value: few samples prove little, however good they look."""
    if found.outcome is not EvaluationOutcome.READ or found.low is None:
        return found.message or "there is no valid evaluation record"
    if found.metric != required.metric:
        return f"the metric of its evaluation record is {found.metric}"
    if found.low < required.min:
        return f"its evaluation record has {found.describe()}, and the lower bound {found.low:.4f} counts"
    return None
