"""The bounds of a share: what they promise, and that looking often takes nothing from it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_operator.evidence import share
from fairlead_operator.evidence.share import Share


@settings(deadline=None)
@given(total=st.integers(0, 10**9), part=st.floats(0, 1), alpha=st.floats(1e-6, 0.5))
def test_a_share_lies_between_its_bounds(total: int, part: float, alpha: float) -> None:
    drawn = Share(hits=round(total * part), total=total)
    low, high = share.lower(drawn, alpha), share.upper(drawn, alpha)
    assert 0 <= low <= high <= 1
    if drawn.value is not None:
        assert low <= drawn.value <= high


@settings(deadline=None)
@given(total=st.integers(1, 10**6), part=st.floats(0, 1), times=st.integers(2, 50))
def test_more_data_narrows_the_bounds(total: int, part: float, times: int) -> None:
    drawn = Share(hits=round(total * part), total=total)
    more = Share(hits=drawn.hits * times, total=total * times)
    assert share.lower(more, 0.01) >= share.lower(drawn, 0.01) - 1e-9
    assert share.upper(more, 0.01) <= share.upper(drawn, 0.01) + 1e-9


@pytest.mark.parametrize("hits", range(0, 21))
def test_twenty_requests_prove_no_rate_of_errors_within_one_percent(hits: int) -> None:
    assert not share.is_below(Share(hits=hits, total=20), 0.01, 0.05)


@pytest.mark.parametrize("truth", [0.001, 0.01, 0.05, 0.3, 0.9])
def test_a_bound_is_crossed_at_any_of_many_looks_no_more_often_than_promised(truth: float) -> None:
    drawn, alpha, runs, wrong = random.Random(7), 0.05, 400, 0
    for _ in range(runs):
        hits = 0
        for look in range(1, 61):
            hits += sum(drawn.random() < truth for _ in range(10))
            if share.exceeds(Share(hits=hits, total=look * 10), truth, alpha):
                wrong += 1
                break
    assert wrong <= alpha * runs


def test_without_data_nothing_is_proved() -> None:
    assert (share.lower(Share(hits=0, total=0), 0.05), share.upper(Share(hits=0, total=0), 0.05)) == (0, 1)
    assert not share.exceeds(Share(hits=0, total=0), 0.0, 0.05)
