"""The number of replicas that a load needs: bounds, tolerance, windows, and replicas that have not reported."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from ray.serve import autoscaling_policy
from ray.serve.config import AutoscalingConfig

from fairlead_runtime import autoscaling

TICK_S = 0.5
recommend = functools.partial(autoscaling.recommend, running=1, target=4.0, aimed=1, least=1, most=8)


@dataclass(frozen=True)
class Point:
    value: float


@dataclass
class Deployment:
    """What Ray's controller keeps of a deployment whose replicas start and stop at once."""

    config: AutoscalingConfig
    aimed: int = 1
    now_s: float = 1000.0
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def target_num_replicas(self) -> int:
        return self.aimed

    def after(self, seconds: float, load: float, *, silent: int = 0) -> int:
        """The number of replicas after so long with this load, as Ray's own wrapper of a policy decides it."""
        policy = autoscaling_policy._apply_autoscaling_config(autoscaling.decide)
        for _ in range(round(seconds / TICK_S)):
            decided, self.state = policy(_Context(self, load, silent))
            self.state = json.loads(json.dumps(self.state))
            self.aimed = max(self.config.min_replicas, min(self.config.max_replicas, decided))
            self.now_s += TICK_S
        return self.aimed


class _Context:
    """The part of Ray's `AutoscalingContext` that is read; the wrapper reads the wall clock, this one is by hand."""

    def __init__(self, deployment: Deployment, load: float, silent: int) -> None:
        self.config = deployment.config
        self.running_replicas = [f"replica-{number}" for number in range(deployment.aimed)]
        self.current_num_replicas = self.target_num_replicas = deployment.aimed
        reporting = self.running_replicas[silent:]
        self.raw_metrics = {"ongoing": {name: [Point(load / len(reporting))] * 3 for name in reporting}}
        self.capacity_adjusted_min_replicas = deployment.config.min_replicas
        self.capacity_adjusted_max_replicas = deployment.config.max_replicas
        self.policy_state = dict(deployment.state)
        self.current_time = deployment.now_s
        self.total_num_requests = 0


def deployment(monkeypatch: pytest.MonkeyPatch, *, up_s: float = 0, down_s: float = 30, **numbers: int) -> Deployment:
    given = {"min_replicas": 1, "max_replicas": 10, "target_ongoing_requests": 4, **numbers}
    made = Deployment(AutoscalingConfig(**given, upscale_delay_s=up_s, downscale_delay_s=down_s))
    monkeypatch.setattr(autoscaling_policy.time, "time", lambda: made.now_s)
    return made


@hypothesis.given(
    loads=st.lists(st.floats(0, 1e6), max_size=20),
    running=st.integers(0, 20),
    target=st.integers(1, 10000),
    aimed=st.integers(0, 1000),
    bounds=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
)
def test_a_recommendation_is_never_outside_the_bounds_and_suffices_for_the_load(
    loads: list[float], running: int, target: int, aimed: int, bounds: tuple[int, int]
) -> None:
    least, most = sorted(bounds)
    found = autoscaling.recommend(loads, running=running, target=target, aimed=aimed, least=least, most=most)
    assert least <= found <= most
    if loads and found < most:
        assert sum(loads) <= found * target * (1 + autoscaling.TOLERANCE) + 1e-6


@hypothesis.given(aimed=st.integers(1, 500), target=st.integers(1, 100), share=st.floats(-0.0999, 0.0999))
def test_a_load_within_the_tolerance_changes_nothing(aimed: int, target: int, share: float) -> None:
    loads = [target * (1 + share)] * aimed
    assert recommend(loads, running=aimed, target=target, aimed=aimed, most=1000) == aimed


@hypothesis.given(load=st.floats(0, 400), target=st.integers(1, 50), aimed=st.integers(1, 100))
def test_a_recommendation_that_is_followed_stands(load: float, target: int, aimed: int) -> None:
    rule = functools.partial(autoscaling.recommend, running=1, target=target, least=1, most=1000)
    first = rule([load], aimed=aimed)
    assert rule([load], aimed=first) == first


def test_the_number_is_the_load_divided_by_the_target_rounded_up() -> None:
    assert [recommend([load], aimed=1) for load in (0, 4, 4.4, 4.5, 12, 12.1, 100)] == [1, 1, 1, 2, 3, 4, 8]


def test_a_replica_that_has_not_reported_is_idle_for_a_scale_up_and_loaded_for_a_scale_down() -> None:
    assert recommend([9.0], running=2, aimed=2) == 3
    assert recommend([1.0], running=4, aimed=4) == 4
    assert recommend([1.0, 0.0], running=4, aimed=4) == 3


def test_without_any_report_nothing_changes() -> None:
    assert recommend([], running=3, aimed=3) == 3


@pytest.mark.parametrize("aimed", [0, 3])
def test_no_running_replica_changes_nothing(aimed: int) -> None:
    assert recommend([], running=0, aimed=aimed, least=0) == aimed


def test_a_step_of_the_load_is_followed_at_once_and_its_end_after_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch)
    assert ray.after(1, 20) == 5
    assert ray.after(29, 0) == 5
    assert ray.after(3, 0) == 1


def test_the_largest_number_in_the_window_is_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch, down_s=30)
    ray.after(1, 36)
    ray.after(20, 2)
    ray.after(5, 17)
    assert ray.after(8, 2) == 5, "the window still has the moment at which five were needed"
    assert ray.after(40, 2) == 1


def test_a_burst_in_the_window_of_a_scale_down_begins_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch, down_s=30)
    ray.after(1, 20)
    ray.after(25, 1)
    ray.after(1, 20)
    assert ray.after(25, 1) == 5


def test_the_smallest_number_in_the_window_is_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch, up_s=10)
    ray.after(5, 12)
    ray.after(4, 36)
    assert ray.after(2, 36) == 3


def test_a_load_that_swings_within_the_windows_moves_the_number_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch, down_s=30)
    assert {ray.after(1, load) for load in [28, 9, 4, 22, 8, 27] * 20} == {7}


def test_other_bounds_hold_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = deployment(monkeypatch, min_replicas=2, max_replicas=4)
    assert ray.after(1, 0) == 2
    assert ray.after(1, 400) == 4


@hypothesis.given(
    loads=st.lists(st.tuples(st.integers(1, 20), st.floats(0, 60)), min_size=1, max_size=20),
    window_s=st.integers(0, 20),
)
def test_what_is_kept_of_a_window_is_its_most_cautious_number(
    loads: Sequence[tuple[int, float]], window_s: int
) -> None:
    aimed, now_s, streak, every = 8, 0.0, [], []
    for spent_s, load in loads:
        now_s += spent_s
        wanted = max(1, math.ceil(load / 4))
        is_same = bool(every) and wanted != aimed and (every[-1][1] > aimed) == (wanted > aimed)
        every = [*(every if is_same else []), (now_s, wanted)] if wanted != aimed else []
        streak = autoscaling.stabilise(streak, wanted, aimed=aimed, now_s=now_s, window_s=window_s)
        cautious = min if wanted > aimed else max
        seen = [number for at_s, number in every if at_s >= now_s - window_s]
        assert (streak[0][1] if streak else None) == (cautious(seen) if seen else None)
