"""The signature contract: a candidate that breaks the stable revision's is held before its first request."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.context import Context


def compared_with(context: Context) -> str | None:
    """The revision whose contract the candidate has to keep to.

    None where the spec allows changes, for a way back (its contract was served before), and where every gateway says
    that the stable revision has no ready replica: what serves nobody can't be asked, and must not keep its cure out.
    """
    serving = context.serving
    if serving.stable is None or not _matters(context):
        return None
    return None if context.most_up(serving.stable) == 0 else serving.stable


def broken(context: Context, rollout: Rollout) -> str | None:
    """Where the candidate breaks the contract, in words; None where it doesn't, or is allowed to."""
    if not rollout.signature_changes or context.serving.candidate is None or not _matters(context):
        return None
    stable = context.serving.stable
    broken_for = f"that of {context.called(stable)}" if stable is not None else "the stable one's"
    return (
        f"the signature of {context.called(context.serving.candidate)} is not compatible with {broken_for}: "
        f"{'; '.join(rollout.signature_changes)}"
    )


def _matters(context: Context) -> bool:
    serving = context.serving
    is_known = context.is_way_back or serving.candidate == serving.previous_stable
    return not context.desired.allow_signature_change and not is_known
