"""When the candidate is asked for its proof, and when that has been tried for long enough."""

from __future__ import annotations

from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import contract
from fairlead_operator.state.actions import Plan, Prove
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout
from fairlead_operator.state.time import elapsed_s

PAUSES_S = (1, 2, 4, 8, 16, 30)
"""Between two attempts; the last one again and again. A fault that ends within seconds condemns no revision."""


def attempt(context: Context, rollout: Rollout, candidate: str) -> Plan:
    """Ask the candidate for its proof, or wait until the next attempt is due."""
    called = context.called(candidate)
    wait_s = _pause_s(context, rollout)
    if wait_s > 0:
        message = f"Attempt {rollout.proof_attempts} to prove {called} did not succeed: {rollout.proof_message}"
        return context.wait(Reason.PROVING, message, requeue_after_s=wait_s)
    prove = Prove(revision=candidate, contract_of=contract.compared_with(context))
    return context.act(prove, Reason.PROVING, f"Asks {called} to run its example.")


def failure(context: Context, rollout: Rollout, candidate: str) -> str | None:
    """Why the candidate is given up after the answers that it gave itself; None while it may be asked again."""
    if rollout.proof_failures < context.bounds.proof_failures:
        return None
    called = context.called(candidate)
    return f"{called} failed its proof {rollout.proof_failures} times in a row: {rollout.proof_message}"


def timeout(context: Context, rollout: Rollout, candidate: str) -> str:
    """What is said of a candidate that could not be asked until the deadline."""
    called = context.called(candidate)
    waited_s = context.desired.progress_deadline_s
    return f"After {waited_s} s and {rollout.proof_attempts} attempts {called} is not proved: {rollout.proof_message}"


def summary(rollout: Rollout, called: str) -> str:
    """What is said of a candidate that is proved."""
    if rollout.proof_message:
        return f"{called} is ready, but its example was not answered in full: {rollout.proof_message}"
    return f"{called} answered its example."


def _pause_s(context: Context, rollout: Rollout) -> float:
    if rollout.proof_tried_at is None or rollout.proof_attempts == 0:
        return 0.0
    pause_s = PAUSES_S[min(rollout.proof_attempts, len(PAUSES_S)) - 1]
    return pause_s - elapsed_s(rollout.proof_tried_at, context.now)
