"""A watch that stays behind the list is found deaf; one that is only late is not."""

from __future__ import annotations

from tests.support.hand_clock import HandClock

from fairlead_operator import health
from fairlead_operator.state import keys

A, B = keys.ModelKey("ns", "a"), keys.ModelKey("ns", "b")


def test_a_delivered_version_is_not_suspicious() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.delivered(A, "10")
    ledger.compare("ns", {A: "10"})
    clock.seconds += 600
    assert not ledger.find_deaf()


def test_a_watch_ahead_of_the_list_is_not_suspicious() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.delivered(A, "11")
    ledger.compare("ns", {A: "9"})
    clock.seconds += 600
    assert not ledger.find_deaf()


def test_a_late_event_clears_the_suspicion() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.compare("ns", {A: "10"})
    clock.seconds += health.DEAF_AFTER_S - 1
    ledger.delivered(A, "10")
    clock.seconds += 600
    assert not ledger.find_deaf()


def test_an_object_that_is_never_delivered_marks_the_watch_as_dead() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.delivered(B, "5")
    ledger.compare("ns", {A: "10", B: "5"})
    assert not ledger.find_deaf()
    clock.seconds += health.DEAF_AFTER_S + 1
    assert ledger.find_deaf() == {"ns"}
    assert not ledger.find_deaf(), "it is named again only when the next watch is deaf as well"
    clock.seconds += health.DEAF_AFTER_S + 1
    assert ledger.find_deaf() == {"ns"}


def test_the_suspicion_counts_from_the_first_list_that_showed_it() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    for version in ("10", "11", "12"):
        ledger.compare("ns", {A: version})
        clock.seconds += health.DEAF_AFTER_S / 2
    assert ledger.find_deaf()


def test_a_removed_object_clears_the_suspicion() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.compare("ns", {A: "10"})
    ledger.compare("ns", {})
    clock.seconds += 600
    assert not ledger.find_deaf()


def test_the_list_of_one_namespace_does_not_affect_another() -> None:
    clock = HandClock()
    ledger = health.WatchLedger(clock=clock)
    ledger.compare("ns", {A: "10"})
    ledger.compare("other", {})
    clock.seconds += health.DEAF_AFTER_S + 1
    assert ledger.find_deaf() == {"ns"}
    ledger.compare(None, {})
    clock.seconds += health.DEAF_AFTER_S + 1
    assert not ledger.find_deaf()
