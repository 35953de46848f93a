"""Whether a candidate is condemned over its proof: by its own answers, or because none could be had in time."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.condemn import deadline, evaluation
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state.reasons import Reason


def failed(context: Context, rollout: Rollout) -> Condemned | None:
    """After the answers that it gave itself."""
    candidate = context.serving.candidate
    if (
        candidate is None
        or evaluation.is_proved(context, rollout)
        or rollout.proof_failures < context.bounds.proof_failures
    ):
        return None
    called = context.called(candidate)
    message = f"{called} failed its test prediction {rollout.proof_failures} times in a row: {rollout.proof_message}"
    return Condemned(reason=Reason.PROOF_FAILED, message=one_line(message))


def overdue(context: Context, rollout: Rollout) -> Condemned | None:
    """A proof that can't be had ends the rollout as replicas that don't come do; one that was never tried doesn't."""
    candidate = context.serving.candidate
    is_proved = evaluation.is_proved(context, rollout)
    if candidate is None or is_proved or rollout.proof_attempts == 0 or not deadline.is_late(context, rollout):
        return None
    called, waited_s = context.called(candidate), context.desired.progress_deadline_s
    message = (
        f"{called} did not pass its test prediction within {waited_s} s ({rollout.proof_attempts} attempts): "
        f"{rollout.proof_message}"
    )
    reason = Reason.PROOF_FAILED if rollout.proof_failures else Reason.PROGRESS_DEADLINE_EXCEEDED
    return Condemned(reason=reason, message=one_line(message))
