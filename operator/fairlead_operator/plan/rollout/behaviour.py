"""What each phase of a rollout does: what it waits for, and what the status remembers as it begins.

The rules of the phases are in ``state.phases``. A suspension has its own decider, ``plan.upkeep.suspension``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fairlead_operator.api.health import Health
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import leaving, memory, phases, restoring, steps, watching
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.triggers import Trigger

Judge = Callable[[Context, Rollout], Plan | Verdict]
Enter = Callable[[Context, Rollout, Rollout, Trigger], Serving]


def enter(context: Context, _: Rollout, moved: Rollout, __: Trigger) -> Serving:
    """Most phases go on with what the one before remembered."""
    return replace(context.serving, rollout=moved)


def enter_shifting(context: Context, old: Rollout, moved: Rollout, trigger: Trigger) -> Serving:
    """The first step, the next one, or the end of the steps."""
    is_next = old.phase is moved.phase
    step = old.step + 1 if is_next else 0
    if trigger is Trigger.PROMOTE_FULL:
        step = len(context.steps)
    shifted = replace(
        moved,
        step=step,
        weight=steps.weight_at(context, step, old.weight),
        replicas=steps.replicas_at(context, step, old.replicas),
        stable_replicas=steps.stable_after(context, old) if is_next else old.stable_replicas,
        progress_s=0,
        progress_at=context.second,
    )
    return replace(context.serving, rollout=shifted)


def enter_restoring(context: Context, old: Rollout, moved: Rollout, _: Trigger) -> Serving:
    return replace(context.serving, rollout=restoring.enter(context, old, moved))


def enter_promoting(context: Context, _: Rollout, moved: Rollout, __: Trigger) -> Serving:
    """The candidate is stable from here on; the revision that was stable leaves."""
    serving = context.serving
    previous = serving.stable or serving.last_stable
    return replace(
        serving,
        stable=serving.candidate,
        candidate=None,
        last_stable=serving.candidate,
        previous_stable=previous if previous != serving.candidate else serving.previous_stable,
        rollout=replace(
            moved,
            leaving=serving.stable,
            weight=0,
            step=0,
            replicas=moved.stable_replicas,
            stable_replicas=moved.replicas if moved.stable_replicas is not None else None,
            paused_by_request=False,
            stable_lost_at=None,
            health=Health(),
        ),
    )


def enter_withdrawing(context: Context, _: Rollout, moved: Rollout, __: Trigger) -> Serving:
    return memory.withdraw(context, moved.phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """``judge`` gives the plan of a pass in the phase, or the verdict that ends it.

    ``enter`` gives what the status remembers when the phase, or another step of it, begins: from what it remembered
    before, the same in the new phase, and the trigger.
    """

    judge: Judge
    enter: Enter = enter


BEHAVIOUR: Mapping[Phase, Behaviour] = {
    Phase.STARTING: Behaviour(judge=phases.starting),
    Phase.CONNECTING: Behaviour(judge=phases.connecting),
    Phase.PROVING: Behaviour(judge=phases.proving),
    Phase.WIDENING: Behaviour(judge=phases.widening),
    Phase.SHIFTING: Behaviour(judge=phases.shifting, enter=enter_shifting),
    Phase.RESTORING: Behaviour(judge=restoring.restoring, enter=enter_restoring),
    Phase.WITHDRAWING: Behaviour(judge=leaving.withdrawing, enter=enter_withdrawing),
    Phase.PROMOTING: Behaviour(judge=leaving.promoting, enter=enter_promoting),
    Phase.WATCHING: Behaviour(judge=watching.watching),
    Phase.DRAINING: Behaviour(judge=leaving.draining),
    Phase.REMOVING: Behaviour(judge=leaving.removing),
}
