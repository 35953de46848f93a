"""The analysis of a promoted revision within the rollback window, while the one before is still warm.

No other revision has traffic beside it any more. So it is held to fixed limits, and to what was counted of the one
before while that was stable, as far as neither the load nor the hour nor other clients are in it. It is only ever
taken back by what is proved; what can't be measured, or is not clear, leaves it where it is.

What happens while the revision isn't ready is for ``condemn.readiness`` to judge: those requests are left out. While a
gateway can't be read, the counts of the others decide where they suffice.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from fairlead_operator.api.analysis_status import AnalysisPhase, MetricPhase, Run
from fairlead_operator.api.counts import Baseline, Counters, Sums
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.text import one_line
from fairlead_operator.plan.condemn import analysis as analyses
from fairlead_operator.plan.condemn import counting, metrics, readiness
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned, Verdict
from fairlead_operator.state import question
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.analysis import Analysis, Measured
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.time import elapsed_s
from fairlead_operator.state.triggers import Trigger

SIDES = metrics.Sides(judged="promoted", other="previous")
CONFIRM_S = 4.0
"""What fails a measurement may be the first second of an outage, which gateways and Ray see only then."""


def find_analysis(context: Context, rollout: Rollout) -> Analysis | None:
    asked = context.desired.analysis
    return asked.after_promotion if asked is not None and readiness.is_window_open(context, rollout) else None


def interrupted(context: Context, rollout: Rollout, stable: str) -> Plan | None:
    """Leaves out what is counted until the revision is well again, and a failure that may have been the beginning."""
    run = rollout.analysis
    if run is None or not run.marks or not readiness.is_window_open(context, rollout):
        return None
    is_away = rollout.health.unwell_since is not None or rollout.health.is_restarting
    if not is_away and context.most_seen_up(stable) != 0:
        return None
    kept = run.without_marks() if run.phase is not AnalysisPhase.FAILED else None
    serving = replace(context.serving, rollout=replace(rollout, analysis=kept))
    message = f"The measurements of {context.called(stable)} continue when it is ready."
    return context.announce(serving, Reason.ROLLBACK_WINDOW_OPEN, message)


def measured(context: Context, rollout: Rollout, analysis: Analysis) -> Run | None:
    """The run with this pass's measurement in it, or as it was: where none is due, or nothing is known."""
    run, seen, stable = rollout.analysis, context.observed.measured, context.serving.stable or ""
    if seen is None or context.now < question.due_at(analysis, rollout.step_started_at, run):
        return run
    if (run is not None and run.phase is AnalysisPhase.FAILED) or not _is_seen(context, stable):
        return run
    counted = counting.find(context)
    if counted is None:
        return run
    at = context.second
    run = run or Run(phase=AnalysisPhase.RUNNING, started_at=at, measured_at=at, message="The analysis has started.")
    if counted.left_out:
        return _measure_part(run, seen, counted, context, rollout, analysis)
    sums = analyses.summed(run.sums, counted.readings, stable=rollout.leaving or "", candidate=stable)
    if sums is None:
        return _count_error(run, rollout, analysis, analyses.MISFIT, at)
    if not run.marks:
        return replace(run.with_sums(sums), measured_at=at)
    if analyses.is_as_before(sums, run.sums) and not analysis.queries and not run.errors:
        return run
    return _evaluate(replace(run.with_sums(sums), measured_at=at), seen, context, analysis)


def _measure_part(
    run: Run, seen: Measured, counted: counting.Counted, context: Context, rollout: Rollout, analysis: Analysis
) -> Run | None:
    """The run with what some gateways counted, which fails it or decides nothing."""
    stable, at = context.serving.stable or "", context.second
    part = analyses.summed_part(run.sums, counted, stable=rollout.leaving or "", candidate=stable)
    if part is None:
        is_error = counted.is_confirmed
        return _count_error(run, rollout, analysis, counted.describe_left_out(), at) if is_error else rollout.analysis
    if not run.marks:
        return replace(run.with_sums(part.kept), measured_at=at)
    if not analysis.queries and analyses.is_as_before(replace(part.judged, marks=part.kept.marks), run.sums):
        return rollout.analysis
    sums = _compared(part.judged, rollout.baseline)
    found = analyses.results(run, seen, context, analysis, sums=sums, sides=SIDES)
    done = analyses.conclude_part(run, part.kept, found, analysis, counted=counted, at=at)
    return done if done != run else rollout.analysis


def _is_seen(context: Context, stable: str) -> bool:
    return isinstance(context.serve_of(stable), Known) and bool(context.fewest_seen_up(stable))


def worse(context: Context, rollout: Rollout) -> Condemned | None:
    """A failure that the status remembers, and that no outage explains by now."""
    analysis, run = find_analysis(context, rollout), rollout.analysis
    if analysis is None or analysis.is_dry_run or run is None or run.phase is not AnalysisPhase.FAILED:
        return None
    stable, warm = context.serving.stable, rollout.leaving
    if stable is None or warm is None or isinstance(context.serve_of(stable), Unknown):
        return None
    if not context.fewest_seen_up(warm):
        return None
    if elapsed_s(run.measured_at, context.now) < CONFIRM_S:
        return None
    return Condemned(reason=Reason.ANALYSIS_FAILED, message=run.message, word=analyses.FAILED_WORD, run=run)


def ignored(context: Context, rollout: Rollout) -> Verdict | None:
    """The window's end where a dry run found a failure: it is reported once."""
    asked, run = context.desired.analysis, rollout.analysis
    if asked is None or not asked.is_dry_run or run is None or run.phase is not AnalysisPhase.FAILED:
        return None
    message = f"The rollback window has ended. The analysis was a dry run with the result {run.phase}: {run.message}"
    return Verdict(trigger=Trigger.READY, reason=Reason.ANALYSIS_IGNORED, message=one_line(message))


def next_look_s(context: Context, rollout: Rollout, analysis: Analysis) -> float:
    """In how many seconds something is due again."""
    run = rollout.analysis
    if run is not None and run.phase is AnalysisPhase.FAILED:
        left_s = CONFIRM_S - elapsed_s(run.measured_at, context.now)
    else:
        left_s = (question.due_at(analysis, rollout.step_started_at, run) - context.now).total_seconds()
    return left_s if left_s > 0 else float(analysis.interval_s)


def _count_error(run: Run, rollout: Rollout, analysis: Analysis, why: str, at: datetime.datetime) -> Run | None:
    """Counted up to the limit; then nothing more is written until it can be measured again."""
    if run.errors > analysis.error_limit:
        return rollout.analysis
    message = f"{run.errors + 1} consecutive measurements were unavailable: {why}"
    return replace(run, errors=run.errors + 1, measured_at=at, message=message)


def _evaluate(run: Run, seen: Measured, context: Context, analysis: Analysis) -> Run:
    baseline = context.serving.rollout.baseline if context.serving.rollout is not None else Baseline()
    found = analyses.results(run, seen, context, analysis, sums=_compared(run.sums, baseline), sides=SIDES)
    unavailable = next((result for result in found if result.phase is MetricPhase.ERROR), None)
    errors = min(run.errors + 1, analysis.error_limit + 1) if unavailable is not None else 0
    run = replace(run, count=run.count + 1, errors=errors, results=found)
    bad = next((result for result in found if result.failed > analysis.failure_limit), None)
    if bad is not None:
        return replace(run, phase=AnalysisPhase.FAILED, message=analyses.describe(bad))
    return replace(run, message=analyses.describe_all(run.sums, found))


def _compared(sums: Sums, baseline: Baseline) -> Sums:
    """Beside the promoted revision's own counts those that the earlier one left behind, and its late labels.

    Without what clients did wrong: they are no longer the same ones.
    """
    late = sums.stable
    return replace(
        sums,
        candidate=replace(sums.candidate, client_errors=0),
        stable=Counters(
            requests=baseline.requests,
            server_errors=baseline.server_errors,
            labelled=baseline.labelled + late.labelled,
            correct=baseline.correct + late.correct,
        ),
    )
