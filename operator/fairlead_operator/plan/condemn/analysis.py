"""The analysis of a candidate while traffic moves: when it is measured, what that says, and what follows.

Every step has a run of its own, from the first reading of the gateways after the step began. In a step ``analysis`` it
is a condition: the step ends once every metric is proved within its limit. In all other steps it goes on beside them.
In both a metric that is proved worse takes the candidate back, and an inconclusive one stops it where it is.

While a gateway can't be counted, the others can still prove the candidate worse: such a measurement is Failed, or it is
not one.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

from fairlead_operator.api.analysis_status import AnalysisPhase, MetricPhase, Result, Run
from fairlead_operator.api.counts import Sums
from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.condemn import counting, metrics, readiness
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state import measurements, question
from fairlead_operator.state.analysis import Analysis, Measured, Query
from fairlead_operator.state.desired import Analyse
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.reasons import Reason

FAILED_WORD = "AnalysisFailed"
MISFIT = "the gateways' histograms have different bounds"


def find_analysis(context: Context, rollout: Rollout) -> Analysis | None:
    """What is measured in this step: nothing on a way back, and nothing beyond the last step."""
    if context.is_way_back or context.step_of(rollout) is None:
        return None
    return context.desired.analysis


def is_comparable(context: Context, rollout: Rollout) -> bool:
    """Whether the stable revision answers: its refusals must not make the candidate look good, or slow."""
    stable = context.serving.stable
    if stable is None or rollout.stable_lost_at is not None:
        return stable is None
    if context.gateways is None:
        return context.fewest_seen_up(stable) > 0  # those that can be read are compared, and take the traffic back
    return context.most_up(stable) != 0


def is_measurable(context: Context, rollout: Rollout) -> bool:
    """Whether both revisions answer, so that what is counted says how well."""
    return is_comparable(context, rollout) and readiness.follow(context, rollout) is None


def worse(context: Context, rollout: Rollout) -> Condemned | None:
    """A metric is proved worse, with this pass's measurement."""
    analysis = find_analysis(context, rollout)
    if analysis is None or analysis.is_dry_run or not is_measurable(context, rollout):
        return None
    run = measured(context, rollout, analysis)
    if run is None or run.phase is not AnalysisPhase.FAILED:
        return None
    return Condemned(reason=Reason.ANALYSIS_FAILED, message=run.message, word=FAILED_WORD, run=run)


def measured(context: Context, rollout: Rollout, analysis: Analysis) -> Run | None:
    """The run with this pass's measurement in it, or as it was where none is due."""
    run, seen = rollout.analysis, context.observed.measured
    if seen is None or context.now < question.due_at(analysis, rollout.step_started_at, run):
        return run
    counted = counting.find(context)
    if counted is None:
        return run
    at = context.second
    if run is None:
        run = Run(phase=AnalysisPhase.RUNNING, started_at=at, measured_at=at, message="The analysis has started.")
    if counted.left_out:
        return _measure_part(run, seen, counted, context, rollout)
    stable, candidate = context.serving.stable or "", context.serving.candidate or ""
    sums = summed(run.sums, counted.readings, stable=stable, candidate=candidate)
    if sums is None:
        return _count_error(run, analysis, MISFIT, context)
    if rollout.analysis is None:
        return run.with_sums(sums)
    is_condition = isinstance(context.step_of(rollout), Analyse)
    goes_on = is_condition and run.phase is AnalysisPhase.RUNNING
    if not goes_on and not run.errors and not analysis.queries and is_as_before(sums, run.sums):
        return run
    return _evaluate(replace(run.with_sums(sums), measured_at=at), seen, context, is_condition=is_condition)


def _measure_part(
    run: Run, seen: Measured, counted: counting.Counted, context: Context, rollout: Rollout
) -> Run | None:
    """The run with what some gateways counted. The others are a measurement that could not be had, unless it failed."""
    analysis, before = context.desired.analysis, rollout.analysis
    stable, candidate = context.serving.stable or "", context.serving.candidate or ""
    part = summed_part(run.sums, counted, stable=stable, candidate=candidate)
    if analysis is None:
        return before
    if part is None:
        return _count_error(run, analysis, counted.describe_left_out(), context) if counted.is_confirmed else before
    if before is None:
        return run.with_sums(part.kept)
    if analysis.queries or not is_as_before(replace(part.judged, marks=part.kept.marks), run.sums):
        found = results(run, seen, context, analysis, sums=part.judged)
        run = conclude_part(run, part.kept, found, analysis, counted=counted, at=context.second)
    if run.phase is AnalysisPhase.FAILED or not counted.is_confirmed:
        return run
    return _count_error(run, analysis, counted.describe_left_out(), context)


def conclude_part(
    run: Run,
    kept: Sums,
    found: tuple[Result, ...],
    analysis: Analysis,
    *,
    counted: counting.Counted,
    at: datetime.datetime,
) -> Run:
    """The run with a metric that some gateways suffice to prove worse; nothing else that was found of them counts.

    As it was where nothing new is to be remembered: what replicas count is judged again each time.
    """
    failed = tuple(result for result in found if result.phase is MetricPhase.FAILED)
    known = {result.name: result for result in (*run.results, *failed)}
    results_now = tuple(known[metric.name] for metric in analysis.metrics if metric.name in known)
    after = replace(run.with_sums(kept), results=results_now)
    bad = _first(failed, lambda r: r.failed > analysis.failure_limit)
    if bad is not None:
        message = f"{counted.describe()}; {describe(bad)}"
        after = replace(after, count=run.count + 1, phase=AnalysisPhase.FAILED, message=message)
    elif run.phase is not AnalysisPhase.INCONCLUSIVE:
        message = f"{counted.describe()}, which is not enough; {counted.describe_left_out()}"
        after = replace(after, message=message)
    return replace(after, measured_at=at) if after != run else run


def summed_part(
    sums: Sums, counted: counting.Counted, *, stable: str, candidate: str
) -> measurements.PartOfSums | None:
    """The same as ``summed`` of some gateways; None where none counts, or their histograms don't fit."""
    if not counted.readings:
        return None
    readings, names = counted.readings, counted.names_left_out
    added = measurements.add_part(sums, readings, names, stable=stable, candidate=candidate)
    return added or measurements.add_part(Sums(), readings, names, stable=stable, candidate=candidate)


def summed(
    sums: Sums, readings: tuple[measurements.GatewayReading, ...], *, stable: str, candidate: str
) -> Sums | None:
    """The sums with the readings added. They start at zero where a gateway was replaced by one with other histograms.

    None where the gateways' histograms don't even fit each other.
    """
    added = measurements.add(sums, readings, stable=stable, candidate=candidate)
    return added or measurements.add(Sums(), readings, stable=stable, candidate=candidate)


def is_as_before(one: Sums, other: Sums) -> bool:
    """Nothing was counted, and all counters still bear their mark."""
    lives = ({(mark.gateway, mark.epoch) for mark in sums.marks} for sums in (one, other))
    return (one.stable, one.candidate) == (other.stable, other.candidate) and next(lives) == next(lives)


def _count_error(run: Run, analysis: Analysis, why: str, context: Context) -> Run:
    """A measurement that could not be had. Once that decided the run, nothing more is written of it."""
    if run.phase is AnalysisPhase.INCONCLUSIVE or not analysis.metrics:
        return run
    errors = run.errors + 1
    run = replace(run, errors=errors, measured_at=context.second)
    if errors <= analysis.error_limit:
        return replace(run, message=f"{errors} consecutive measurements were unavailable: {why}")
    message = f"{errors} consecutive measurements were unavailable (limit: {analysis.error_limit}): {why}"
    return replace(run, phase=AnalysisPhase.INCONCLUSIVE, message=message)


def _evaluate(run: Run, seen: Measured, context: Context, *, is_condition: bool) -> Run:
    analysis = context.desired.analysis
    if analysis is None or not analysis.metrics:
        return replace(run, errors=0, message="")
    found = results(run, seen, context, analysis, sums=run.sums)
    unavailable = next((result for result in found if result.phase is MetricPhase.ERROR), None)
    run = replace(run, results=found)
    if (bad := _first(found, lambda r: r.failed > analysis.failure_limit)) is not None:
        return replace(run, count=run.count + 1, phase=AnalysisPhase.FAILED, message=describe(bad))
    if unavailable is not None:
        return _count_error(run, analysis, describe(unavailable), context)
    run = replace(run, count=run.count + 1, errors=0)
    if run.phase is AnalysisPhase.INCONCLUSIVE:
        return run
    running = replace(run, message=describe_all(run.sums, found))
    return _concluded(running, analysis) if is_condition else running


def significance(context: Context, analysis: Analysis) -> float:
    """The chance of a wrong word is shared out evenly: each metric of each step has its part, and of the window."""
    counted = len(analysis.metrics) - len(analysis.queries)
    is_watched = context.desired.rollback_window_s > 0
    return metrics.SIGNIFICANCE / max(1, counted * (len(context.steps) + is_watched))


def results(
    run: Run,
    seen: Measured,
    context: Context,
    analysis: Analysis,
    *,
    sums: Sums,
    sides: metrics.Sides = metrics.IN_STEPS,
) -> tuple[Result, ...]:
    """Each metric by ``sums`` or the answer to its query; ``sides`` is how messages call the revisions."""
    alpha = significance(context, analysis)
    known = {result.name: result for result in run.results}
    found = []
    for metric in analysis.metrics:
        before = known.get(metric.name)
        if isinstance(metric.kind, Query):
            answer = seen.answers.get(metric.name, Unknown("the query was not sent"))
            found.append(metrics.judge_answer(metric, metric.kind, answer, before))
        else:
            found.append(metrics.judge_counts(metric, metric.kind, sums, before=before, alpha=alpha, sides=sides))
    return tuple(found)


def _concluded(run: Run, analysis: Analysis) -> Run:
    """What a step ``analysis`` waits for: each metric proved within its limit, a query after all its measurements."""
    is_over = run.count >= analysis.count
    limit = analysis.inconclusive_limit
    queries = {name for name, _ in analysis.queries}
    unclear = _first(run.results, lambda r: limit is not None and r.inconclusive > limit)
    if unclear is None and is_over:
        unclear = _first(run.results, lambda r: r.phase is not MetricPhase.SUCCESSFUL)
    if unclear is not None:
        message = f"not decided after {run.count} measurements: {describe(unclear)}"
        return replace(run, phase=AnalysisPhase.INCONCLUSIVE, message=message)
    if all(r.phase is MetricPhase.SUCCESSFUL and (is_over or r.name not in queries) for r in run.results):
        return replace(run, phase=AnalysisPhase.SUCCESSFUL)
    return run


def _first(results: tuple[Result, ...], is_so: Callable[[Result], bool]) -> Result | None:
    return next((result for result in results if is_so(result)), None)


def describe_all(sums: Sums, results: tuple[Result, ...]) -> str:
    """The results, and of how many gateways where some are not counted."""
    text = "; ".join(describe(result) for result in results)
    if not sums.uncounted_gateways:
        return text
    counted = len(sums.marks)
    return f"counted at {counted} of {counted + sums.uncounted_gateways} gateways; {text}"


def describe(result: Result) -> str:
    return f"{result.name}: {result.message}"
