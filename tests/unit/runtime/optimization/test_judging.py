"""A variant serves only within the bounds, and only if it is better in what is asked for."""

from __future__ import annotations

import sys

import pytest

from fairlead_runtime.config import AccuracyFloor, Optimization, OptimizeFor
from fairlead_runtime.model.variant import FLOAT, VariantReason
from fairlead_runtime.optimization import judging, record
from fairlead_runtime.optimization.record import Speed, Table, Unmade, Variant

SAMPLES = 1000


def variant(name: str, **changes: object) -> Variant:
    figures: dict[str, object] = {
        "file": f"{name}.onnx.z",
        "digest": "0" * 64,
        "size_bytes": 1000,
        "rss_bytes": 100 * 2**20,
        "start_s": 0.5,
        "correct": 950,
        "score_change": 0.0,
        "speeds": speeds(100e-6, 3200e-6),
    }
    return Variant.model_validate({"name": name, **figures, **changes})


def speeds(one_s: float, many_s: float) -> tuple[Speed, ...]:
    pairs = ((1, one_s), (32, many_s))
    return tuple(Speed(rows=rows, best_s=each_s, p50_s=each_s, p99_s=each_s) for rows, each_s in pairs)


def judge(*variants: Variant, **bounds: object) -> judging.Judged:
    table = Table(
        samples=SAMPLES,
        most_frequent=100,
        variants=(variant(FLOAT), *variants),
        unmade=(),
        answers="0" * 64,
        made_s=0,
    )
    return judging.judge(table, Optimization.model_validate(bounds))


FAST = {"speeds": speeds(50e-6, 1600e-6)}


def test_the_fastest_within_the_bounds_serves() -> None:
    found = judge(variant("A", **FAST), variant("B", speeds=speeds(40e-6, 3200e-6), score_change=0.05, correct=941))
    assert (found.choice.name, found.choice.reason) == ("B", VariantReason.BEST)
    assert "B has 40 µs a call of 1 row, float 100 µs" in found.choice.why
    assert "accuracy 0.9410 (95 %: 0.9246 to 0.9540, 1000 samples), float 0.9500" in found.choice.why
    assert found.refused == {"A": "B is better"}


def test_of_those_that_are_as_fast_the_one_that_changes_scores_least_serves() -> None:
    """A difference within 10 % may be chance of the measurement, and no reason to change an answer."""
    steady = variant("Steady", speeds=speeds(41e-6, 1600e-6), score_change=0.001)
    found = judge(variant("Fastest", speeds=speeds(40e-6, 1600e-6), score_change=0.09), steady, variant("A", **FAST))
    assert found.choice.name == "Steady"
    assert found.refused == {
        "Fastest": "Steady is as good within 10 % and changes scores less",
        "A": "Steady is better",
    }


def test_below_the_floor_the_float_model_serves_and_says_by_how_much() -> None:
    found = judge(variant("A", **FAST, correct=939))
    assert (found.choice.name, found.choice.reason) == (FLOAT, VariantReason.REFUSED)
    why = "accuracy falls by 0.0110 (from 0.9500 to 0.9390 on 1000 samples), more than maxDrop 0.01"
    assert found.refused == {"A": why}
    assert why in found.choice.why


def test_the_floor_itself_is_allowed() -> None:
    assert judge(variant("A", **FAST, correct=940)).choice.name == "A"


def test_scores_that_change_are_refused_though_the_accuracy_is_the_same() -> None:
    found = judge(variant("A", **FAST, score_change=0.36))
    assert found.choice.name == FLOAT
    assert found.refused["A"] == "a score changes by 0.360, more than maxScoreChange 0.1"


@pytest.mark.parametrize(
    ("change", "text"), [(sys.float_info.max, "any amount (it is no number any more)"), (123456.0, "1.23e+05")]
)
def test_a_change_beyond_all_measure_is_said_in_a_few_words(change: float, text: str) -> None:
    found = judge(variant("A", **FAST, score_change=change))
    assert found.refused["A"] == f"a score changes by {text}, more than maxScoreChange 0.1"


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (OptimizeFor.LATENCY, {"speeds": speeds(89e-6, 9000e-6)}),
        (OptimizeFor.THROUGHPUT, {"speeds": speeds(900e-6, 2800e-6)}),
        (OptimizeFor.MEMORY, {"rss_bytes": 89 * 2**20}),
        (OptimizeFor.SIZE, {"size_bytes": 899}),
    ],
)
def test_it_has_to_be_better_in_what_is_asked_for(wanted: OptimizeFor, change: dict[str, object]) -> None:
    assert judge(variant("A", **change), optimize_for=wanted).choice.name == "A"
    for other in set(OptimizeFor) - {wanted}:
        found = judge(variant("A", **change), optimize_for=other)
        assert found.choice.name == FLOAT
        assert found.refused["A"].startswith(f"not better for {other.value}")


def few(max_drop: float, correct: int) -> judging.Judged:
    variants = (variant(FLOAT, correct=19), variant("A", correct=correct, **FAST))
    unmade = (Unmade(name="C", why="it has no layer"),)
    table = Table(samples=20, most_frequent=5, variants=variants, unmade=unmade, answers="0" * 64, made_s=0)
    return judging.judge(table, Optimization(accuracy_floor=AccuracyFloor(max_drop=max_drop)))


def test_samples_have_to_be_enough_to_show_the_drop_that_is_allowed() -> None:
    why = "20 judged samples can't show a drop of accuracy of 0.01, which takes 100"
    assert few(0.01, 19).refused == {"A": why, "C": "it has no layer"}
    assert few(0.05, 18).choice.name == "A"


def test_no_drop_at_all_may_be_asked_for() -> None:
    assert judge(variant("A", **FAST), accuracy_floor={"max_drop": 0}).choice.name == "A"
    assert judge(variant("A", **FAST, correct=949), accuracy_floor={"max_drop": 0}).choice.name == FLOAT


def test_no_drop_at_all_takes_as_many_samples_as_a_small_one() -> None:
    assert few(0, 19).refused["A"] == "20 judged samples can't show a drop of accuracy of 0.01, which takes 100"


def blind(correct: int, most_frequent: int, **bounds: object) -> judging.Judged:
    variants = (variant(FLOAT, correct=correct), variant("A", **FAST, correct=correct))
    table = Table(
        samples=SAMPLES, most_frequent=most_frequent, variants=variants, unmade=(), answers="0" * 64, made_s=0
    )
    return judging.judge(table, Optimization.model_validate(bounds))


def test_a_floor_that_a_constant_answer_keeps_judges_nothing() -> None:
    """Of rare cases that the model finds the accuracy could lose all, and hardly fall."""
    found = blind(995, 990)
    assert (found.choice.name, found.choice.reason) == (FLOAT, VariantReason.NO_SAMPLES)
    assert "it is right on 990 of the 1000 judged samples, the float model on 995, and maxDrop is 0.01" in (
        found.choice.why
    )
    assert found.refused == {"A": "the samples can't judge it"}
    assert blind(995, 990, accuracy_floor={"max_drop": 0.002}).choice.name == "A"
    assert blind(995, 980).choice.name == "A"


CHANCE = Unmade(name="C", why="there was too little memory", is_chance=True)


def failed(*unmade: Unmade, tries: int = 1) -> Table:
    return Table(
        samples=20,
        most_frequent=5,
        variants=(variant(FLOAT),),
        unmade=unmade,
        answers="0" * 64,
        made_s=1000.0,
        tries=tries,
    )


def test_only_what_failed_by_chance_is_tried_again() -> None:
    assert record.is_due(failed(CHANCE), 1001.0, 1002.0)
    assert not record.is_due(failed(), 1001.0, 1002.0)
    assert not record.is_due(failed(Unmade(name="C", why="an answer has another shape")), 1001.0, 1002.0)


def test_a_replica_that_waited_for_a_try_takes_its_result() -> None:
    assert not record.is_due(failed(CHANCE), 999.0, 1002.0)


@pytest.mark.parametrize(("tries", "pause_s"), [(2, 60), (3, 120), (8, 3840), (50, 3840)])
def test_each_further_try_waits_longer_up_to_about_an_hour(tries: int, pause_s: float) -> None:
    assert not record.is_due(failed(CHANCE, tries=tries), 999.0 + pause_s, 9000.0)
    assert record.is_due(failed(CHANCE, tries=tries), 1000.0 + pause_s, 9000.0)


def test_a_clock_that_was_set_back_puts_off_no_try() -> None:
    assert record.is_due(failed(CHANCE, tries=9), 10.0, 11.0)
