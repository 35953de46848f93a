"""The steps of a rollout while traffic moves, and what holds them."""

from __future__ import annotations

import datetime

from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.plan import balance, failure
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.machine import Trigger
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.analysis import Run
from fairlead_operator.state.desired import Analyse, Batch, MinSamples, Pause, SetReplicas, SetWeight, Step
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Rollout
from fairlead_operator.state.route import FULL_WEIGHT

LOOK_AGAIN_S = 5.0
"""During a pause that ends by itself the candidate is looked at this often."""


def of(context: Context) -> tuple[Step, ...]:
    """None where nothing is stable: there is nothing to share with. A way back takes all traffic at once.

    Batches are no steps that one could skip: they are what the cluster has room for.
    """
    if context.serving.stable is None:
        return ()
    if context.is_way_back and not isinstance(context.desired.steps[0], Batch):
        return (SetWeight(weight=FULL_WEIGHT),)
    return context.desired.steps


def current(context: Context, rollout: Rollout) -> Step | None:
    """None after the last step of the list, while the candidate is given the rest of the traffic."""
    steps = of(context)
    return steps[rollout.step] if rollout.step < len(steps) else None


def weight_at(context: Context, step: int, before: int) -> int:
    """The candidate's weight in a step; a pause keeps the one before, and after the last step it gets everything."""
    if context.serving.stable is None:
        return 0  # it gets its traffic by promotion
    steps = of(context)
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
    steps = of(context)
    if step >= len(steps) or steps[step] == SetWeight(weight=FULL_WEIGHT):
        return max(before, context.desired.replicas)
    match steps[step]:
        case SetReplicas(count=count) | Batch(candidate=count):
            return max(before, min(count, context.desired.replicas))
        case _:
            return before


def replicas_at_first(context: Context) -> int | None:
    """A list that begins with a number of replicas holds from the start."""
    match of(context)[:1]:
        case (SetReplicas(count=count) | Batch(candidate=count),):
            return min(count, context.desired.replicas)
        case _:
            return None


def stable_at_first(context: Context) -> int | None:
    """What batches leave of the stable revision before there is any candidate; None is all of it."""
    desired = context.desired
    is_less = isinstance(next(iter(of(context)), None), Batch) and desired.stable_at_first < desired.replicas
    return desired.stable_at_first if is_less else None


def stable_after(context: Context, done: Rollout) -> int | None:
    """The most replicas that the stable revision may have once a step is confirmed: never too few for its share.

    Whoever leaves the batches for other steps gets all of them back.
    """
    step = current(context, done)
    if isinstance(step, Batch):
        return max(step.stable, balance.needed_for(context, done.weight))
    return context.desired.replicas if done.stable_replicas is not None else None


def is_growing(context: Context, rollout: Rollout) -> bool:
    """Whether the step waits for more of the candidate's replicas before anything else."""
    if rollout.replicas is None:
        return False
    return isinstance(current(context, rollout), SetReplicas | Batch) or rollout.weight == FULL_WEIGHT


def held_by(context: Context, rollout: Rollout) -> str | None:
    """Who holds the rollout where it is; a way back is never held."""
    if context.is_way_back:
        return None
    if context.desired.paused:
        return "spec.rollout.paused"
    return "a request to pause" if rollout.paused_by_request else None


def following(context: Context, rollout: Rollout, called: str) -> Plan | Verdict:
    """The step's weight is confirmed: what the step waits for besides, and what follows it."""
    share = f"{rollout.weight * 100 / FULL_WEIGHT:g} %"
    if (holder := held_by(context, rollout)) is not None:
        message = f"{called} stays at {share}: {holder} holds it."
        return context.wait(Reason.PAUSED, message, requeue_after_s=context.bounds.resync_s)
    step, steps = current(context, rollout), of(context)
    if step is not None and (waiting := _waits(context, rollout, step, f"{called} stays at {share}")) is not None:
        return waiting
    if rollout.step + 1 < len(steps) or (steps and rollout.weight < FULL_WEIGHT):
        message = f"Step {rollout.step + 1} of {len(steps)} is done."
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
    """A dry run decides nothing, whatever it found; what else a real one finds, ``plan.analysis`` acts on."""
    run, analysis = rollout.analysis, context.desired.analysis
    if analysis is None:
        return None  # it was taken from the spec, and its step with it
    ends = {AnalysisPhase.SUCCESSFUL, *(tuple(AnalysisPhase) if analysis.is_dry_run else ())} - {AnalysisPhase.RUNNING}
    if run is not None and run.phase in ends:
        return None
    found = "it is measured" if run is None else f"measurement {run.count} of {analysis.count}: {run.message}"
    return context.wait(Reason.ANALYSING, f"{stays}. {found}", requeue_after_s=LOOK_AGAIN_S)


def _analysed(run: Run, done: str, called: str) -> Verdict:
    """The step's end with its numbers."""
    if run.phase is AnalysisPhase.SUCCESSFUL:
        reason, found = Reason.ANALYSIS_SUCCESSFUL, f"{called} is within its limits"
    else:
        reason, found = Reason.ANALYSIS_IGNORED, f"it was a dry run, which found it {run.phase}"
    message = failure.bounded(f"{done}: {found}: {run.message}")
    return Verdict(trigger=Trigger.STEP, reason=reason, message=message)


def _samples(context: Context, rollout: Rollout, requests: int, stays: str) -> Plan | None:
    seen = rollout.analysis.sums.candidate.requests if rollout.analysis is not None else 0
    if seen >= requests:
        return None
    message = f"{stays} until it has answered {requests:,} requests; {seen:,} so far."
    return context.wait(Reason.STEP_PAUSED, message, requeue_after_s=LOOK_AGAIN_S)


def _pause(context: Context, rollout: Rollout, pause: Pause, stays: str) -> Plan | None:
    """None once it is over. It began when the step before was confirmed, which the status remembers."""
    if pause.duration_s is None:
        message = f"{stays}: it waits to be promoted."
        return context.wait(Reason.PAUSED, message, requeue_after_s=context.bounds.resync_s)
    left_s = pause.duration_s - context.since_step_s(rollout)
    if left_s <= 0:
        return None
    until = rollout.step_started_at + datetime.timedelta(seconds=pause.duration_s)
    message = f"{stays} until {until:%Y-%m-%dT%H:%M:%SZ}."
    return context.wait(Reason.STEP_PAUSED, message, requeue_after_s=min(left_s, LOOK_AGAIN_S))
