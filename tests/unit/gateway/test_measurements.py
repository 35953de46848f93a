"""What the request log says of a revision becomes counters that an analysis may subtract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_gateway import measurements, metrics, request_log

A, B = "3f0c9a1b2d", "7ab0c9d1e2"


def counted(*lines: str) -> dict[str, int]:
    made = metrics.Metrics()
    request_log.count_lines("".join(f"{line}\n" for line in lines).encode(), made)
    return dict(made.measured.counters_of("digits", A).body()["requests"])


@pytest.mark.parametrize(
    ("code", "termination", "field"),
    [
        pytest.param("200", "--", None, id="answered"),
        pytest.param("500", "--", "serverErrors", id="the model failed"),
        pytest.param("503", "LR", "serverErrors", id="no replica: the gateway answered"),
        pytest.param("504", "sH", "serverErrors", id="too late: the gateway answered"),
        pytest.param("200", "SD", "serverErrors", id="the replica cut its answer"),
        pytest.param("400", "--", "clientErrors", id="refused"),
        pytest.param("-1", "CH", "aborted", id="the client left before the answer"),
        pytest.param("503", "CC", "aborted", id="the client left before a connection was there"),
        pytest.param("200", "CD", "aborted", id="the client left while the answer was sent"),
    ],
)
def test_each_request_is_counted_once_and_each_failure_in_one_field(
    code: str, termination: str, field: str | None
) -> None:
    found = counted(f"R digits {A} {code} {termination} 1200 10 10 0")

    others = {"serverErrors": 0, "clientErrors": 0, "aborted": 0}
    assert found == {"total": 1, **others, **({field: 1} if field else {})}


def test_a_request_without_a_revision_is_not_counted() -> None:
    assert counted("R digits - 413 PR 10 10 10 0", "R - - 404 LR - 1 1 0")["total"] == 0


TAKES_TIME = ("200", "499", "504")
REFUSED = ("404", "500", "503")


@given(st.lists(st.tuples(st.sampled_from([*TAKES_TIME, *REFUSED]), st.integers(0, 10**8)), max_size=50))
def test_each_prediction_counts_in_one_duration_bucket_and_a_refusal_in_none(
    requests: list[tuple[str, int]],
) -> None:
    store = measurements.Store()
    for code, duration_us in requests:
        store.add(("digits", A), code, "--", duration_us)

    body = store.counters_of("digits", A).body()

    assert body["requests"]["total"] == len(requests)
    assert sum(body["durations"]["counts"]) == sum(code in TAKES_TIME for code, _ in requests)
    assert len(body["durations"]["counts"]) == len(body["durations"]["boundsSeconds"]) + 1


def test_a_returning_revision_continues_its_counters() -> None:
    store = measurements.Store()
    store.add(("digits", A), "200", "--", 10)

    store.follow({"digits": frozenset({B})})
    store.add(("digits", A), "200", "--", 10)

    assert store.counters_of("digits", A).total == 2


def test_the_counters_kept_for_removed_revisions_are_bounded() -> None:
    store = measurements.Store()
    for number in range(1000):
        store.add(("digits", f"{number:010x}"), "200", "--", 10)
        store.follow({"digits": frozenset({f"{number:010x}"})})

    kept = sum(store.counters_of("digits", f"{number:010x}").total for number in range(1000))
    store.follow({})

    assert kept == 65
    assert store.counters_of("digits", f"{999:010x}").total == 0
