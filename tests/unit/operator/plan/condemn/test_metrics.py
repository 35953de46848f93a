"""One measurement of each kind of metric: its conclusion and its words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead_operator.api.analysis_status import MetricPhase, Result
from fairlead_operator.api.counts import Counters, Scale, Sums
from fairlead_operator.plan.condemn import metrics
from fairlead_operator.state.analysis import (
    Accuracy,
    Between,
    Counted,
    Disagreement,
    Drift,
    ErrorRatio,
    Latency,
    Metric,
    Query,
)
from fairlead_operator.state.knowledge import Known, Unknown

SCALE = Scale(durations_s=(0.01, 0.1), scores=(0.5,))
GOOD = Counters(
    requests=2000, durations=(1900, 100, 0), pairs=2000, disagreed=1, labelled=2000, correct=1900, scores=(1000, 1000)
)
BAD = Counters(
    requests=2000,
    server_errors=100,
    durations=(0, 1000, 1000),
    pairs=2000,
    disagreed=600,
    labelled=2000,
    correct=1500,
    scores=(1800, 200),
)
ERRORS = ErrorRatio(margin=0.01, maximum=None)
LATENCY = Latency(quantile=0.9, ratio=1.5, maximum_s=None)
KINDS = {
    "errors": ERRORS,
    "errors below a limit": ErrorRatio(margin=0.01, maximum=0.02),
    "latency": LATENCY,
    "latency below a limit": Latency(quantile=0.9, ratio=1.5, maximum_s=0.1),
    "disagreement": Disagreement(maximum=0.02),
    "accuracy": Accuracy(margin=0.05),
    "drift": Drift(maximum=0.1),
}


def judged(kind: Counted, candidate: Counters, stable: Counters = GOOD, *, min_samples: int = 100) -> Result:
    metric = Metric(name="it", kind=kind, min_samples=min_samples)
    sums = Sums(stable=stable, candidate=candidate, scale=SCALE)
    return metrics.judge_counts(metric, kind, sums, before=None, alpha=0.01)


@pytest.mark.parametrize("name", KINDS)
def test_a_good_candidate_is_within_each_limit_and_a_bad_one_is_not(name: str) -> None:
    good, bad = judged(KINDS[name], GOOD), judged(KINDS[name], BAD)
    assert (good.phase, good.failed) == (MetricPhase.SUCCESSFUL, 0)
    assert (bad.phase, bad.failed) == (MetricPhase.FAILED, 1)


def test_a_candidate_that_refuses_what_the_stable_revision_takes_is_worse() -> None:
    """A model that fails an assertion on good input answers 400."""
    refusing = replace(GOOD, client_errors=100)
    assert judged(ERRORS, refusing).phase is MetricPhase.FAILED
    assert judged(KINDS["errors below a limit"], refusing).phase is MetricPhase.SUCCESSFUL, "bad callers are no limit's"


def test_callers_that_send_nonsense_to_both_revisions_are_not_the_candidates_fault() -> None:
    nonsense = replace(GOOD, client_errors=400)
    assert judged(ERRORS, nonsense, nonsense).phase is not MetricPhase.FAILED


@pytest.mark.parametrize("name", KINDS)
def test_below_the_minimum_of_samples_nothing_is_concluded(name: str) -> None:
    found = judged(KINDS[name], BAD, min_samples=2001)
    assert (found.phase, found.failed, found.inconclusive) == (MetricPhase.INCONCLUSIVE, 0, 1)
    assert "a result needs at least 2,001" in found.message


@pytest.mark.parametrize("name", KINDS)
def test_nothing_counted_is_nothing_concluded(name: str) -> None:
    found = judged(KINDS[name], Counters(), Counters())
    assert found.phase is MetricPhase.INCONCLUSIVE


def test_the_numbers_are_told() -> None:
    assert judged(ERRORS, BAD).message == (
        "failed requests: candidate 5 % of 2,000, stable 0 % of 2,000; allowed: 1 percentage point more"
    )
    assert judged(LATENCY, BAD).message == (
        "p90 latency: candidate above 0.1 s (2,000 requests), stable at most 0.01 s (2,000 requests); "
        "allowed: 1.5 times the stable latency"
    )
    assert judged(Accuracy(margin=0.02), BAD).message == (
        "correct predictions: candidate 75 % of 2,000 labelled, stable 95 % of 2,000 labelled; "
        "allowed: 2 percentage points less"
    )


LOW = Query(text="q", success=Between(least=None, most=1.0), failure=Between(least=5.0, most=None))


@pytest.mark.parametrize(
    ("query", "answer", "phase"),
    [
        pytest.param(LOW, Known(1.0), MetricPhase.SUCCESSFUL, id="at the end of success"),
        pytest.param(LOW, Known(3.0), MetricPhase.INCONCLUSIVE, id="between"),
        pytest.param(LOW, Known(5.0), MetricPhase.FAILED, id="at the beginning of failure"),
        pytest.param(LOW, Known(float("inf")), MetricPhase.FAILED, id="infinite"),
        pytest.param(LOW, Known(float("nan")), MetricPhase.INCONCLUSIVE, id="not a number"),
        pytest.param(LOW, Known(None), MetricPhase.INCONCLUSIVE, id="no series"),
        pytest.param(LOW, Unknown("timed out"), MetricPhase.ERROR, id="not answered"),
        pytest.param(
            Query(text="q", success=Between(least=1.0, most=2.0), failure=None),
            Known(2.5),
            MetricPhase.FAILED,
            id="all but success",
        ),
        pytest.param(
            Query(text="q", success=None, failure=Between(least=1.0, most=2.0)),
            Known(2.5),
            MetricPhase.SUCCESSFUL,
            id="all but failure",
        ),
    ],
)
def test_an_answer_of_prometheus_is_compared_with_its_ranges(
    query: Query, answer: Known[float | None] | Unknown, phase: MetricPhase
) -> None:
    metric = Metric(name="it", kind=query, min_samples=100)
    assert metrics.judge_answer(metric, query, answer, None).phase is phase
