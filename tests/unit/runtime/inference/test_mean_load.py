"""The load that a replica reports: a mean over time, also of what begins and ends between two looks."""

from __future__ import annotations

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from tests.support.hand_clock import HandClock
from tests.support.replica_parts import Setting, assemble_inline

from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference.mean_load import MeanLoad

TAKES_S = 0.02


@hypothesis.given(
    spells=st.lists(st.tuples(st.floats(0.001, 100), st.integers(0, 50)), min_size=1), look_at=st.integers(0)
)
def test_the_mean_load_weights_requests_by_their_duration(spells: list[tuple[float, int]], look_at: int) -> None:
    clock = HandClock()
    load = MeanLoad(clock.monotonic_s)
    first, reads = look_at % len(spells), 0
    for number, (seconds, count) in enumerate(spells):
        if number == first:
            load.take_mean()
            reads = number
        load.add(count - load.count)
        clock.seconds += seconds
    seen = spells[reads:]
    expected = sum(seconds * count for seconds, count in seen) / sum(seconds for seconds, _ in seen)
    assert load.take_mean() == pytest.approx(expected, abs=1e-6)


def test_two_reads_at_the_same_moment_return_the_current_load() -> None:
    load = MeanLoad(HandClock().monotonic_s)
    load.add(3)
    assert load.take_mean() == 3


def test_predictions_shorter_than_a_turn_of_the_loop_count_in_the_mean() -> None:
    def slow(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        end_s = time.perf_counter() + TAKES_S
        while time.perf_counter() < end_s:
            pass
        return inputs

    plane = assemble_inline(Setting(model=slow)).plane
    plane.take_mean_pending()
    row = (np.zeros((1, 4), np.float32),)
    for _ in range(5):
        plane.infer(row)
        assert plane.pending == 0
    assert 0.5 < plane.take_mean_pending() <= 1


def test_a_failed_prediction_leaves_the_load() -> None:
    def broken(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        raise RuntimeError("no")

    plane = assemble_inline(Setting(model=broken)).plane
    with pytest.raises(RequestError):
        plane.infer((np.zeros((1, 4), np.float32),))
    assert plane.pending == 0
