"""What an outcome adds to what the status remembers."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import SIGNATURE_CHANGE_MAX, SIGNATURE_CHANGES_MAX
from fairlead_operator.state.actions import Done, NotProved, Outcome, Plan, Proved, Refused
from fairlead_operator.state.rollout import Serving

PROOF_MESSAGE_MAX = 512


def _bounded(changes: tuple[str, ...]) -> tuple[str, ...]:
    """As many as the status takes; the last one says how many more there are."""
    cut = tuple(c if len(c) <= SIGNATURE_CHANGE_MAX else f"{c[: SIGNATURE_CHANGE_MAX - 1]}…" for c in changes)
    if len(cut) <= SIGNATURE_CHANGES_MAX:
        return cut
    kept = cut[: SIGNATURE_CHANGES_MAX - 1]
    return (*kept, f"and {len(cut) - len(kept)} more")


def after(plan: Plan, outcome: Outcome) -> Serving:
    """The plan's memory with the proof's result in it; only a result for the present candidate counts."""
    serving = plan.serving
    rollout = serving.rollout
    match outcome:
        case Done() | Refused():
            return serving
        case Proved() | NotProved() if rollout is None or outcome.revision != serving.candidate:
            return serving
        case Proved(digest=None):
            missing = NotProved(revision=outcome.revision, message="the answer names no digest (x-fairlead-digest)")
            return after(plan, missing)
        case Proved(digest=digest, signature_changes=changes):
            proved = replace(
                rollout,
                proved=True,
                proof_digest=digest,
                proof_failures=0,
                proof_message="",
                signature_changes=_bounded(changes),
            )
            return replace(serving, rollout=proved)
        case NotProved(message=message):
            failed = replace(
                rollout, proof_failures=rollout.proof_failures + 1, proof_message=message[:PROOF_MESSAGE_MAX]
            )
            return replace(serving, rollout=failed)
