"""What a phase concluded, and what the spec says of the rollout as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan import aim, balance
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.machine import Trigger
from fairlead_operator.state.analysis import Run
from fairlead_operator.state.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A trigger with its reason; ``failure_reason`` is the word that the quarantine keeps, ``run`` the analysis."""

    trigger: Trigger
    reason: Reason
    message: str
    failure_reason: str | None = None
    run: Run | None = None


def of_the_wish(context: Context) -> Verdict | None:
    """Whether the spec, or Ray's own life, changes what is under way; the wish goes first."""
    serving, aimed = context.serving, aim.aim(context)
    if serving.candidate is not None and aimed != serving.candidate:
        return _away(context, serving.candidate, aimed)
    if (
        serving.phase is not Phase.WATCHING
        and serving.leaving is not None
        and aimed == serving.leaving
        and _is_kept(context, serving.leaving)
    ):
        message = f"{context.called(serving.leaving)} is wished again, and still runs."
        return Verdict(trigger=Trigger.RETURNED, reason=Reason.ROLLOUT_STARTED, message=message)
    return _of_ray(context)


def _is_kept(context: Context, revision: str) -> bool:
    return revision in context.desired.revisions


def _away(context: Context, candidate: str, aimed: str | None) -> Verdict:
    gone = f"Withdraws {context.called(candidate)}"
    if aimed is not None and aimed == context.serving.stable:
        message = f"{gone}: {_wisher(context)} is back at {context.called(aimed)}."
        if context.desired.replicas == 0:
            message = f"{gone}: no replicas are wished."
        return Verdict(trigger=_way_out(context, Trigger.REVERTED), reason=Reason.REVERTED, message=message)
    then = f"{_wisher(context)} asks for {context.called(aimed)}" if aimed is not None else "nothing is wished to run"
    return Verdict(trigger=_way_out(context, Trigger.SUPERSEDED), reason=Reason.SUPERSEDED, message=f"{gone}: {then}.")


def _way_out(context: Context, trigger: Trigger) -> Trigger:
    return Trigger.RESTORE if balance.is_to_be_restored(context) else trigger


def _wisher(context: Context) -> str:
    return "the spec" if context.rollback is None else "a rollback"


def _of_ray(context: Context) -> Verdict | None:
    rollout, session = context.serving.rollout, context.ray_session
    if rollout is None or session is None or rollout.ray_session in (None, session):
        return None
    again = "the candidate starts again"
    if rollout.phase in (Phase.SHIFTING, Phase.WATCHING):
        again = "traffic stays until they are back"
    message = f"Ray's head was restarted and lost every replica: {again}."
    return Verdict(trigger=Trigger.RAY_RESTARTED, reason=Reason.RAY_RESTARTED, message=message)
