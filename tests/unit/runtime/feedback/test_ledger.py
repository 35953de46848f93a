"""Labels are counted for the revision that predicted, each token once within the window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_runtime.analysis_counters import REVISIONS_MAX, AnalysisCounters
from fairlead_runtime.feedback import keys, ledger, tokens
from fairlead_runtime.inference.tops import Kind, Tops

A, B = "3f0c9a1b2d", "7ab0c9d1e2"


def signer(revision: str) -> tokens.Signer:
    key = keys.derive("s", namespace="default", model="digits")
    return tokens.Signer(key, context=keys.context_id(namespace="default", model="digits"), revision=revision)


def issue(*values: float, kind: Kind = Kind.CLASS, revision: str = A) -> str:
    return signer(revision).issue(Tops(kind, values, ())).decode()


@pytest.fixture
def measured() -> AnalysisCounters:
    return AnalysisCounters()


@pytest.fixture
def taker(measured: AnalysisCounters) -> ledger.Ledger:
    return ledger.Ledger(signer(A), measured, lambda: 0.0)


def test_a_label_counts_for_the_revision_in_the_token(taker: ledger.Ledger, measured: AnalysisCounters) -> None:
    taker.take(issue(3, revision=A), 3)
    taker.take(issue(3, revision=B), 4)

    assert (measured.labels(A).body(), measured.labels(B).body()) == (
        {"labelled": 1, "correct": 1},
        {"labelled": 1, "correct": 0},
    )


def test_a_repeated_token_is_counted_once(taker: ledger.Ledger, measured: AnalysisCounters) -> None:
    token = issue(3)

    first, second = taker.take(token, 3), taker.take(token, 3)

    assert (first.labelled, second.labelled, second.is_repeated) == (1, 0, True)
    assert measured.labels(A).labelled == 1


def test_each_label_of_a_batch_counts_and_an_unknown_one_does_not(
    taker: ledger.Ledger, measured: AnalysisCounters
) -> None:
    outcome = taker.take(issue(3, 4, 5), [3, None, 6])

    assert (outcome.labelled, outcome.correct) == (2, 1)
    assert measured.labels(A).labelled == 2


@pytest.mark.parametrize(
    ("value", "label", "tolerance", "is_right"),
    [
        pytest.param(10.0, 10.1, None, True, id="within a hundredth and a thousandth"),
        pytest.param(10.0, 10.2, None, False, id="beyond"),
        pytest.param(0.0, 0.0009, None, True, id="near zero"),
        pytest.param(10.0, 12.0, 2.5, True, id="within the tolerance that was given"),
        pytest.param(0.83, True, None, True, id="a probability above one half is true"),
        pytest.param(0.5, True, None, True, id="one half is true"),
        pytest.param(0.49, False, None, True, id="below is false"),
        pytest.param(0.83, False, None, False, id="a wrong one"),
        pytest.param(0.83, 1, None, False, id="1 is a number, not true"),
        pytest.param(float("nan"), 1.0, 1e9, False, id="not a number is never right"),
    ],
)
def test_a_number_is_right_within_its_tolerance(
    taker: ledger.Ledger, value: float, label: object, tolerance: float | None, is_right: bool
) -> None:
    assert taker.take(issue(value, kind=Kind.NUMBER), label, tolerance).correct == is_right


@pytest.mark.parametrize(
    ("kind", "label", "tolerance", "words"),
    [
        (Kind.CLASS, "cat", None, "index of the true class"),
        (Kind.CLASS, True, None, "index of the true class"),
        (Kind.CLASS, -1, None, "whole number from 0"),
        (Kind.CLASS, 1.0, None, "whole number"),
        (Kind.CLASS, None, None, "label: is missing"),
        (Kind.CLASS, [], None, "label: is missing"),
        (Kind.CLASS, [1, 2], None, "the token is for 1 predictions, but 2 labels were sent"),
        (Kind.CLASS, 1, 0.5, "only a model with one numeric output"),
        (Kind.NUMBER, "1", None, "the true number"),
        (Kind.NUMBER, 1.0, -1, "0 or more"),
        (Kind.NUMBER, 1.0, True, "must be a number"),
    ],
)
def test_an_invalid_label_is_refused_and_its_token_stays_usable(
    taker: ledger.Ledger, measured: AnalysisCounters, kind: Kind, label: object, tolerance: object, words: str
) -> None:
    token = issue(1, kind=kind)

    with pytest.raises(ledger.LabelError, match=words):
        taker.take(token, label, tolerance)

    assert measured.feedback == {}
    assert taker.take(token, 1).labelled == 1


@given(st.integers(1, 20), st.lists(st.integers(0, 40), max_size=200))
def test_a_token_counts_once_within_the_window_whose_size_is_bounded(size: int, nonces: list[int]) -> None:
    window = ledger.Window(size)
    added: list[int] = []
    for nonce in nonces:
        assert (nonce in window) == (nonce in added[-size:])
        if nonce not in window:
            window.add(nonce)
            added.append(nonce)
        assert len(window) == min(size, len(added))


def test_the_number_of_remembered_revisions_is_bounded(taker: ledger.Ledger, measured: AnalysisCounters) -> None:
    for number in range(REVISIONS_MAX + 10):
        taker.take(issue(1, revision=f"{number:010x}"), 1)

    assert len(measured.feedback) == REVISIONS_MAX
