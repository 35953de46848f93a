"""A model is idle after its time without a request, and never before the gateway has watched it for so long."""

from __future__ import annotations

from fairlead_gateway.idleness import Idleness


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_model_is_idle_after_its_time_without_a_request() -> None:
    clock = Clock()
    idleness = Idleness(clock)
    idleness.follow({"digits": 60})
    clock.now_s += 59
    assert not idleness.is_idle("digits")
    idleness.note("digits")
    clock.now_s += 59
    assert not idleness.is_idle("digits")
    clock.now_s += 1
    assert idleness.is_idle("digits")


def test_another_limit_counts_from_the_same_request() -> None:
    clock = Clock()
    idleness = Idleness(clock)
    idleness.follow({"digits": 60})
    clock.now_s += 30
    idleness.follow({"digits": 20})
    assert idleness.is_idle("digits")


def test_a_model_that_is_not_followed_is_never_idle() -> None:
    clock = Clock()
    idleness = Idleness(clock)
    idleness.note("digits")
    idleness.follow({"digits": 60})
    clock.now_s += 100
    idleness.follow({})
    assert not idleness.is_idle("digits")
    idleness.follow({"digits": 60})
    assert not idleness.is_idle("digits")
