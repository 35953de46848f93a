"""When the candidate is asked for its proof, and what is said once it is proved."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.condemn import evaluation
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import contract
from fairlead_operator.state.actions import Plan, Prove
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.time import elapsed_s

PAUSES_S = (1, 2, 4, 8, 16, 30)
"""Between two attempts; the last one again and again. A fault that ends within seconds condemns no revision."""


def attempt(context: Context, rollout: Rollout, candidate: str) -> Plan:
    """Ask the candidate for its proof, or wait until the next attempt is due."""
    called = context.called(candidate)
    wait_s = _pause_s(context, rollout)
    if wait_s > 0:
        message = f"Test prediction {rollout.proof_attempts} of {called} failed: {rollout.proof_message}"
        return context.wait(Reason.PROVING, message, requeue_after_s=wait_s)
    prove = Prove(
        revision=candidate,
        contract_of=contract.compared_with(context),
        needs_evaluation=evaluation.requirement(context) is not None,
    )
    return context.act(prove, Reason.PROVING, f"Sending a test prediction to {called}.")


def summary(rollout: Rollout, called: str) -> str:
    """What is said of a candidate that is proved."""
    if rollout.proof_message:
        return (
            f"{called} passed its test prediction, but the model rejected the generated input: {rollout.proof_message}"
        )
    return f"{called} passed its test prediction."


def _pause_s(context: Context, rollout: Rollout) -> float:
    if rollout.proof_tried_at is None or rollout.proof_attempts == 0:
        return 0.0
    pause_s = PAUSES_S[min(rollout.proof_attempts, len(PAUSES_S)) - 1]
    return pause_s - elapsed_s(rollout.proof_tried_at, context.now)
