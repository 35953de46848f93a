"""Which candidate is recommended for given figures, and the tests between candidates against known p-values."""

from __future__ import annotations

import pytest
from tests.support.measured_candidates import measured

from fairlead_cli.comparison import choosing, figures
from fairlead_cli.comparison.choosing import Constraints, Objective


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (8, 0, 2 / 2**8), (1, 9, 22 / 2**10), (10, 2, 158 / 2**12), (3000, 3000, 1.0)],
)
def test_the_sign_test_is_the_binomial_tail(first: int, second: int, p: float) -> None:
    assert figures.sign_test(first, second) == pytest.approx(p)
    assert figures.sign_test(second, first) == pytest.approx(p)


def test_the_sign_test_of_many_pairs_is_that_of_the_normal_distribution() -> None:
    """z = (4100 - 3900 - 1) / sqrt(8000) = 2.2249, with the correction for continuity."""
    assert figures.sign_test(4100, 3900) == pytest.approx(0.02609, rel=1e-2)


def test_only_samples_that_one_model_alone_has_right_count() -> None:
    test = figures.compare_accuracy(measured("a", wrong=range(0, 20)), measured("b", wrong=range(10, 60)))
    assert (test.first, test.second) == (40, 10)


@pytest.mark.parametrize(("candidates", "rounds"), [(2, 6), (3, 7), (8, 11)])
def test_so_many_rounds_can_show_a_difference(candidates: int, rounds: int) -> None:
    assert choosing.rounds_needed(candidates) == rounds


def test_the_more_accurate_one_is_recommended_where_the_difference_is_beyond_chance() -> None:
    found = choosing.recommend(
        [measured("fast", wrong=range(100), p50_ms=0.1), measured("good", wrong=range(20))],
        Constraints(),
        Objective.ACCURACY,
    )
    assert found is not None
    assert (found.name, found.reason) == ("good", "it has the highest accuracy (0.9500), beyond chance")
    assert found.comparisons[0].accuracy_differs


def test_the_faster_one_is_recommended_where_the_accuracy_does_not_differ_beyond_chance() -> None:
    found = choosing.recommend(
        [measured("slow", wrong=range(20), p50_ms=2), measured("fast", wrong=range(17, 40))],
        Constraints(),
        Objective.ACCURACY,
    )
    assert found is not None
    assert found.name == "fast"
    assert found.reason == (
        "it does not differ from slow in accuracy beyond chance, and of these it has the lowest latency "
        "(p50 with one row 1.050 ms)"
    )
    assert not found.comparisons[0].accuracy_differs
    assert found.comparisons[0].latency_differs


def test_a_latency_that_is_lower_in_some_rounds_only_does_not_decide() -> None:
    noisy = measured("noisy", wrong=range(30), noise=(-9, -9, -9, -9, -9, -9, 30, 30, 30, 30, 30))
    steady = measured("steady", wrong=range(10), noise=(0,) * 11)
    found = choosing.recommend([noisy, steady], Constraints(), Objective.LATENCY)
    assert found is not None
    assert found.name == "steady"
    assert "does not differ from noisy in latency beyond chance" in found.reason


def test_a_latency_that_is_a_little_lower_in_each_round_does_not_decide() -> None:
    """Two processes of one model differ so."""
    little = measured("little", wrong=range(30), p50_ms=0.95)
    found = choosing.recommend([little, measured("steady", wrong=range(10))], Constraints(), Objective.LATENCY)
    assert found is not None
    assert found.name == "steady"
    assert (found.comparisons[0].latency.second, found.comparisons[0].latency_differs) == (11, False)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (Objective.MEMORY, "it has the lowest memory (100.0 MiB)"),
        (Objective.SIZE, "it has the lowest size (0.001 MiB)"),
        (Objective.LATENCY, "it has the lowest latency (p50 with one row 0.525 ms), beyond chance"),
    ],
)
def test_each_objective_has_its_own_best(objective: Objective, reason: str) -> None:
    small = measured("small", wrong=range(300), p50_ms=0.5, memory_mib=100, size_bytes=900)
    found = choosing.recommend([measured("large"), small], Constraints(), objective)
    assert found is not None
    assert (found.name, found.reason) == ("small", reason)


def test_memory_within_the_margin_is_equal_and_the_latency_decides() -> None:
    found = choosing.recommend(
        [measured("slow", p50_ms=3, memory_mib=300), measured("fast", memory_mib=310)],
        Constraints(),
        Objective.MEMORY,
    )
    assert found is not None
    assert found.name == "fast"
    assert "does not differ from slow in memory by more than 5%" in found.reason


@pytest.mark.parametrize(
    ("constraints", "why"),
    [
        (Constraints(metric_min=0.95), "the lower bound of its accuracy is 0.9240, below 0.95"),
        (Constraints(latency_max_s=0.003), "its p99 with one row is 3.150 ms, above 3 ms"),
        (Constraints(memory_max_bytes=200 * 2**20), "its memory is 300.0 MiB, above 200.0 MiB"),
    ],
)
def test_what_breaks_a_constraint_is_not_recommended(constraints: Constraints, why: str) -> None:
    breaking = measured("breaking", wrong=range(20))
    assert list(choosing.find_violations(breaking, constraints)) == [why]
    keeping = measured("keeping", p50_ms=0.9, memory_mib=100)
    found = choosing.recommend([breaking, keeping], constraints, Objective.SIZE)
    assert found is not None
    assert (found.name, found.reason) == ("keeping", "it is the only candidate that keeps the constraints")
    assert choosing.recommend([breaking], constraints, Objective.SIZE) is None
