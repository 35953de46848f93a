"""The steps of a rollout while traffic moves, and what holds them."""

from __future__ import annotations

import datetime
import math

from fairlead_operator.api.analysis_status import AnalysisPhase, Run
from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.desired import Analyse, Batch, MinSamples, Pause, SetReplicas, SetWeight, Step
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT
from fairlead_operator.state.triggers import Trigger

LOOK_AGAIN_S = 5.0
"""During a pause that ends by itself the candidate is looked at this often."""


def weight_at(context: Context, step: int, before: int) -> int:
    """The candidate's weight in a step; a pause keeps the one before, and after the last step it gets everything."""
    if context.serving.stable is None:
        return 0  # it gets its traffic by promotion
    steps = context.steps
    if step >= len(steps):
        return FULL_WEIGHT
    match steps[step]:
        case SetWeight(weight=weight) | Batch(weight=weight):
            return weight
        case Pause() | SetReplicas() | Analyse() | MinSamples():
            return before


def replicas_at(context: Context, step: int, before: int | None) -> int | None:
    """The most replicas that the candidate may have in a step; None is all of them, and nothing is ever taken away.

    All traffic is only ever given to all replicas.
    """
    if before is None:
        return None
    steps = context.steps
    if step >= len(steps) or steps[step] == SetWeight(weight=FULL_WEIGHT):
        return max(before, context.desired.replicas)
    match steps[step]:
        case SetReplicas(count=count) | Batch(candidate=count):
            return max(before, min(count, context.desired.replicas))
        case SetWeight(weight=weight) if _scales_by_share(context):
            return max(before, _share(context, weight))
        case _:
            return before


def _scales_by_share(context: Context) -> bool:
    """Whether the candidate begins with what its weight needs, and its load adds to that.

    Where the number is fixed there is no load to add to it, so the candidate has all its replicas from the start.
    """
    return context.desired.autoscaling is not None and context.desired.strategy is Strategy.CANARY


def _share(context: Context, weight: int) -> int:
    return max(1, math.ceil(context.desired.replicas * weight / FULL_WEIGHT))


def replicas_at_first(context: Context) -> int | None:
    """A list that begins with a number of replicas, or with a share that scales, holds from the start."""
    match context.steps[:1]:
        case (SetReplicas(count=count) | Batch(candidate=count),):
            return min(count, context.desired.replicas)
        case (first,) if _scales_by_share(context) and first != SetWeight(weight=FULL_WEIGHT):
            return _share(context, first.weight if isinstance(first, SetWeight) else 0)
        case _:
            return None


def stable_at_first(context: Context) -> int | None:
    """What batches leave of the stable revision before there is any candidate; None is all of it."""
    desired = context.desired
    is_less = isinstance(next(iter(context.steps), None), Batch) and desired.stable_at_first < desired.replicas
    return desired.stable_at_first if is_less else None


def stable_after(context: Context, done: Rollout) -> int | None:
    """The most replicas that the stable revision may have once a step is confirmed: never too few for its share.

    A rollout that leaves the batches for other steps gets all of them back.
    """
    step = context.step_of(done)
    if isinstance(step, Batch):
        return max(step.stable, needed_for(context, done.weight))
    return context.desired.replicas if done.stable_replicas is not None else None


def is_growing(context: Context, rollout: Rollout) -> bool:
    """Whether the step waits for more of the candidate's replicas before anything else."""
    if rollout.replicas is None:
        # It had all of them before its first request; where scaling is automatic, more may be needed by now.
        return context.desired.autoscaling is not None and rollout.weight == FULL_WEIGHT
    step = context.step_of(rollout)
    has_more = isinstance(step, SetReplicas | Batch) or (isinstance(step, SetWeight) and _scales_by_share(context))
    return has_more or rollout.weight == FULL_WEIGHT


def held_by(context: Context, rollout: Rollout) -> str | None:
    """Why the rollout is paused, and how to continue, as the end of a sentence; a way back is never paused."""
    if context.is_way_back:
        return None
    if context.desired.paused:
        return "spec.rollout.paused is true. Set it to false to continue."
    if not rollout.paused_by_request:
        return None
    return f"it is paused on request. Run `kubectl fairlead resume {context.observed.key.name}` to continue."


def following(context: Context, rollout: Rollout, called: str) -> Plan | Verdict:
    """The step's weight is confirmed: what the step waits for besides, and what follows it."""
    stays = f"{called} stays at {rollout.weight * 100 / FULL_WEIGHT:g} % of the traffic"
    if (holder := held_by(context, rollout)) is not None:
        return context.wait(Reason.PAUSED, f"{stays}: {holder}", requeue_after_s=context.bounds.resync_s)
    step, steps = context.step_of(rollout), context.steps
    if step is not None and (waiting := _waits(context, rollout, step, stays)) is not None:
        return waiting
    if rollout.step + 1 < len(steps) or (steps and rollout.weight < FULL_WEIGHT):
        # The list may be shorter by now than the step's number: batches follow the number of replicas.
        message = f"Step {rollout.step + 1} of {len(steps)} is done." if step is not None else "All steps are done."
        if isinstance(step, Analyse) and rollout.analysis is not None and context.desired.analysis is not None:
            return _analysed(rollout.analysis, message[:-1], called)
        return Verdict(trigger=Trigger.STEP, reason=Reason.SHIFTING, message=message)
    return Verdict(trigger=Trigger.READY, reason=Reason.PROMOTED, message=f"{called} takes all traffic and is stable.")


def is_wait(step: Step | None) -> bool:
    """Whether a step waits for something: a promote ends that."""
    return isinstance(step, Pause | Analyse | MinSamples)


def _waits(context: Context, rollout: Rollout, step: Step, stays: str) -> Plan | None:
    """None once what the step waits for has come."""
    match step:
        case SetWeight() | SetReplicas() | Batch():
            return None
        case Pause():
            return _pause(context, rollout, step, stays)
        case Analyse():
            return _analysis(context, rollout, stays)
        case MinSamples(requests=requests):
            return _samples(context, rollout, requests, stays)


def _analysis(context: Context, rollout: Rollout, stays: str) -> Plan | None:
    """A dry run decides nothing, whatever it found; what else a real one finds, ``rollout.measuring`` acts on."""
    run, analysis = rollout.analysis, context.desired.analysis
    if analysis is None:
        return None  # it was taken from the spec, and its step with it
    ends = {AnalysisPhase.SUCCESSFUL, *(tuple(AnalysisPhase) if analysis.is_dry_run else ())} - {AnalysisPhase.RUNNING}
    if run is not None and run.phase in ends:
        return None
    found = (
        "The first measurement is due" if run is None else f"Measurement {run.count} of {analysis.count}: {run.message}"
    )
    return context.wait(Reason.ANALYSING, f"{stays}. {found}", requeue_after_s=LOOK_AGAIN_S)


def _analysed(run: Run, done: str, called: str) -> Verdict:
    """The step's end with its numbers."""
    if run.phase is AnalysisPhase.SUCCESSFUL:
        reason, found = Reason.ANALYSIS_SUCCESSFUL, f"{called} is within its limits"
    else:
        reason, found = Reason.ANALYSIS_IGNORED, f"the analysis was a dry run with the result {run.phase}"
    message = one_line(f"{done}: {found}: {run.message}")
    return Verdict(trigger=Trigger.STEP, reason=reason, message=message)


def _samples(context: Context, rollout: Rollout, requests: int, stays: str) -> Plan | None:
    seen = rollout.analysis.candidate.requests if rollout.analysis is not None else 0
    if seen >= requests:
        return None
    message = f"{stays} until it has answered {requests:,} requests; {seen:,} so far."
    return context.wait(Reason.STEP_PAUSED, message, requeue_after_s=LOOK_AGAIN_S)


def _pause(context: Context, rollout: Rollout, pause: Pause, stays: str) -> Plan | None:
    """None once it is over. It began when the step before was confirmed, which the status remembers."""
    if pause.duration_s is None:
        name = context.observed.key.name
        message = (
            f"{stays} until it is promoted. Run `kubectl fairlead promote {name}` to continue, or "
            f"`kubectl fairlead abort {name}` to end the rollout."
        )
        return context.wait(Reason.PAUSED, message, requeue_after_s=context.bounds.resync_s)
    left_s = pause.duration_s - context.since_step_s(rollout)
    if left_s <= 0:
        return None
    until = rollout.step_started_at + datetime.timedelta(seconds=pause.duration_s)
    message = f"{stays} until {until:%Y-%m-%dT%H:%M:%SZ}."
    return context.wait(Reason.STEP_PAUSED, message, requeue_after_s=min(left_s, LOOK_AGAIN_S))


def needed_for(context: Context, weight: int) -> int:
    """Replicas that the stable revision needs for its share beside a candidate of this weight."""
    least = context.desired.replicas - context.desired.unavailable
    return math.ceil((FULL_WEIGHT - weight) * least / FULL_WEIGHT)


def is_to_be_restored(context: Context) -> bool:
    """Whether the stable revision is too small for its traffic, and the candidate well enough to wait for it."""
    serving, rollout = context.serving, context.serving.rollout
    if rollout is None or not serving.rules.moves_traffic or serving.candidate is None:
        return False
    if rollout.replicas is None or rollout.stable_replicas is None or context.fewest_up(serving.candidate) == 0:
        return False  # gateways that can't be read don't say that it has no replica
    is_well = rollout.health.unwell_since is None
    return is_well and rollout.weight > 0 and rollout.stable_replicas < context.desired.replicas
