"""Worse, within or undecided: from counts of two revisions."""

from __future__ import annotations

import pytest
from benchmarks import analysis_power
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_operator.evidence import compare
from fairlead_operator.evidence.compare import Finding, Histogram
from fairlead_operator.evidence.share import Share

RUNS = 1000
BOUNDS = (0.001, 0.01, 0.1, 1.0)
counts = st.tuples(*[st.integers(0, 10**6)] * (len(BOUNDS) + 1))


def histogram(*numbers: int) -> Histogram:
    return Histogram(bounds=BOUNDS, counts=numbers)


@pytest.mark.parametrize(
    ("candidate", "stable", "finding"),
    [
        pytest.param(Share(hits=50, total=1000), Share(hits=0, total=9000), Finding.WORSE, id="5 % against none"),
        pytest.param(Share(hits=0, total=1000), Share(hits=0, total=9000), Finding.WITHIN, id="no error anywhere"),
        pytest.param(Share(hits=1, total=20), Share(hits=0, total=180), Finding.UNDECIDED, id="one of twenty"),
        pytest.param(Share(hits=5, total=100), Share(hits=0, total=0), Finding.UNDECIDED, id="nothing to compare with"),
        pytest.param(Share(hits=0, total=0), Share(hits=0, total=900), Finding.UNDECIDED, id="nothing to judge"),
        pytest.param(
            Share(hits=500, total=1000), Share(hits=4500, total=9000), Finding.UNDECIDED, id="both half broken"
        ),
    ],
)
def test_a_share_is_compared_with_the_stable_one(candidate: Share, stable: Share, finding: Finding) -> None:
    assert compare.with_stable(candidate, stable, margin=0.01, alpha=0.01).finding is finding


@pytest.mark.parametrize(
    ("candidate", "stable", "finding"),
    [
        pytest.param((0, 900, 100, 0, 0), (0, 9000, 1000, 0, 0), Finding.WITHIN, id="the same"),
        pytest.param((0, 0, 0, 800, 200), (0, 9000, 1000, 0, 0), Finding.WORSE, id="slower by classes"),
        pytest.param((0, 0, 0, 0, 1000), (0, 9000, 1000, 0, 0), Finding.WORSE, id="above the last bound"),
        pytest.param((0, 0, 5, 5, 0), (0, 90, 10, 0, 0), Finding.UNDECIDED, id="ten requests"),
        pytest.param((0, 0, 500, 500, 0), (0, 0, 0, 0, 0), Finding.UNDECIDED, id="nothing to compare with"),
    ],
)
def test_a_quantile_is_compared_with_the_stable_one(
    candidate: tuple[int, ...], stable: tuple[int, ...], finding: Finding
) -> None:
    found = compare.quantile_with_stable(histogram(*candidate), histogram(*stable), q=0.95, ratio=1.5, alpha=0.01)
    assert found.finding is finding


def test_between_two_bounds_of_the_histogram_the_result_is_undecided() -> None:
    found = compare.quantile_with_limit(histogram(0, 0, 1000, 0, 0), q=0.5, limit=0.05, alpha=0.01)
    assert (found.finding, found.value) == (Finding.UNDECIDED, 0.1)


def test_a_limit_beyond_the_histogram_proves_nothing_worse() -> None:
    found = compare.quantile_with_limit(histogram(0, 0, 0, 0, 1000), q=0.5, limit=5.0, alpha=0.01)
    assert found.finding is Finding.UNDECIDED


@pytest.mark.parametrize(
    ("candidate", "finding"),
    [
        ((0, 2500, 2500, 2500, 2500), Finding.WITHIN),
        ((0, 5500, 1500, 1500, 1500), Finding.WORSE),
        ((0, 6, 1, 1, 2), Finding.UNDECIDED),
    ],
)
def test_a_drift_of_the_scores_is_the_greatest_gap_below_a_bound(candidate: tuple[int, ...], finding: Finding) -> None:
    stable = histogram(0, 2500, 2500, 2500, 2500)
    assert compare.distance(histogram(*candidate), stable, limit=0.1, alpha=0.01).finding is finding


@settings(deadline=None)
@given(candidate=counts, stable=counts)
def test_no_histogram_is_both_worse_and_within(candidate: tuple[int, ...], stable: tuple[int, ...]) -> None:
    mine, other = histogram(*candidate), histogram(*stable)
    for found in (
        compare.quantile_with_stable(mine, other, q=0.95, ratio=1.5, alpha=0.01),
        compare.distance(mine, other, limit=0.1, alpha=0.01),
    ):
        assert found.value is not None or found.finding is Finding.UNDECIDED


HARDEST = [case for case in analysis_power.GOOD if "1.5 times" in case.name or "exactly" in case.name]


@pytest.mark.parametrize("case", HARDEST, ids=lambda case: case.name)
def test_a_good_candidate_is_withdrawn_no_more_often_than_promised(case: analysis_power.Case) -> None:
    result = analysis_power.simulate(case, RUNS, looks=20)
    assert result.share_worse() <= analysis_power.ALPHA


@pytest.mark.parametrize(
    ("name", "at_most"),
    [
        ("errors: 5 % against none, margin 1 point", 800),
        ("latency: 5 times as long, p95, ratio 1.5", 400),
        ("accuracy: 85 % against 95 %, margin 2 points", 1200),
        ("disagreement: 30 %, limit 2 %", 400),
    ],
)
def test_each_kind_of_bad_candidate_is_found(name: str, at_most: int) -> None:
    (case,) = (case for case in analysis_power.BAD if case.name == name)
    result = analysis_power.simulate(case, 100, looks=60)
    assert len(result.worse) == 100
    assert sorted(result.worse)[95] <= at_most
