"""Why a revision is condemned: every cause there is, in the order in which a pass looks for them.

A condemned candidate is withdrawn, a condemned promoted revision gives all traffic back, and neither is tried again
until the spec changes or a person retries it. Each cause is positive evidence: what can't be read condemns nobody.
A new cause is a row here and its check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead_operator.api.status import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.condemn import after_promotion, analysis, deadline, evaluation, proof, readiness, start
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned, Verdict
from fairlead_operator.state.triggers import Trigger

Check = Callable[[Context, Rollout], Condemned | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A check, and the phases in which it is looked for."""

    check: Check
    phases: tuple[Phase, ...]


CAUSES: tuple[Cause, ...] = (
    # The candidate answered the operator's request wrongly, several times in a row.
    Cause(check=proof.failed, phases=(Phase.PROVING,)),
    # Its evaluation record is missing, of another model, or not good enough.
    Cause(check=evaluation.unmet, phases=(Phase.PROVING,)),
    # Ray gave the candidate up, and says why.
    Cause(
        check=start.given_up,
        phases=(Phase.STARTING, Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING),
    ),
    # A revision with traffic crashes again and again.
    Cause(check=readiness.crash_loop, phases=(Phase.SHIFTING, Phase.WATCHING)),
    # It stays without a ready replica, or unhealthy.
    Cause(check=readiness.lost, phases=(Phase.SHIFTING, Phase.WATCHING)),
    # Its replicas don't run within the progress deadline.
    Cause(check=deadline.replicas_missing, phases=(Phase.STARTING, Phase.WIDENING, Phase.SHIFTING)),
    # They run, but the gateways don't see them within the deadline.
    Cause(check=deadline.replicas_unseen, phases=(Phase.CONNECTING, Phase.PROVING, Phase.WIDENING, Phase.SHIFTING)),
    # No proof could be had within the deadline.
    Cause(check=proof.overdue, phases=(Phase.PROVING,)),
    # The analysis proves it worse than the stable revision, or than its limits.
    Cause(check=analysis.worse, phases=(Phase.SHIFTING,)),
    # The analysis within the rollback window proves it worse than it may be.
    Cause(check=after_promotion.worse, phases=(Phase.WATCHING,)),
)


def find(context: Context, rollout: Rollout) -> Verdict | None:
    """The first cause that holds for the candidate or, once it is promoted, for the stable revision."""
    for cause in CAUSES:
        if rollout.phase in cause.phases and (found := cause.check(context, rollout)) is not None:
            return Verdict(
                trigger=Trigger.STABLE_FAILED if context.serving.rules.keeps_warm else Trigger.FAILED,
                reason=found.reason,
                message=found.message,
                failure_reason=found.word,
                run=found.run,
            )
    return None
