"""What an outcome adds to what the status remembers."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import assert_never

from fairlead_operator.api.status import SIGNATURE_CHANGE_MAX, SIGNATURE_CHANGES_MAX, Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.state.actions import Done, NotProved, Outcome, Plan, ProofUnavailable, Prove, Proved, Refused
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.time import whole_second


def after(plan: Plan, outcome: Outcome, now: datetime.datetime) -> Serving:
    """The plan's memory with the proof's result in it; only a result for the present candidate counts."""
    serving = plan.serving
    if isinstance(outcome, Done | Refused) or serving.rollout is None or outcome.revision != serving.candidate:
        return serving
    rollout = _after_proof(serving.rollout, outcome, whole_second(now))
    if isinstance(outcome, Proved) and isinstance(plan.action, Prove) and plan.action.needs_evaluation:
        rollout = replace(rollout, evaluation=outcome.evaluation)
    return replace(serving, rollout=rollout)


def _after_proof(rollout: Rollout, outcome: Proved | NotProved | ProofUnavailable, now: datetime.datetime) -> Rollout:
    match outcome:
        case Proved(digest=digest, signature_changes=changes, note=note):
            return replace(
                rollout,
                proved=True,
                proof_digest=digest,
                proof_failures=0,
                proof_attempts=0,
                proof_tried_at=None,
                proof_message=one_line(note),
                signature_changes=_bounded(changes),
            )
        case NotProved() | ProofUnavailable():
            return replace(
                rollout,
                proof_failures=rollout.proof_failures + isinstance(outcome, NotProved),
                proof_attempts=rollout.proof_attempts + 1,
                proof_tried_at=now,
                proof_message=one_line(outcome.message),
            )
    assert_never(outcome)


def _bounded(changes: tuple[str, ...]) -> tuple[str, ...]:
    """As many as the status takes; the last one says how many more there are."""
    cut = tuple(c if len(c) <= SIGNATURE_CHANGE_MAX else f"{c[: SIGNATURE_CHANGE_MAX - 1]}…" for c in changes)
    if len(cut) <= SIGNATURE_CHANGES_MAX:
        return cut
    kept = cut[: SIGNATURE_CHANGES_MAX - 1]
    return (*kept, f"and {len(cut) - len(kept)} more")
