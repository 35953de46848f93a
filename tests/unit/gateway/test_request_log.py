"""Lines of the request log become counts and histograms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead_gateway import metrics, request_log

A = "3f0c9a1b2d"
LINE = f"R digits {A} 200 -- 1234 120 250 0\n"


def samples(counted: metrics.Metrics) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in counted.text().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_request_is_counted_by_model_revision_and_code() -> None:
    counted = metrics.Metrics()

    rest = request_log.count_lines((LINE * 3 + f"R digits {A} 503 SC 9 1 2 +3\n" + "R dig").encode(), counted)

    found = samples(counted)
    labels = f'model="digits",revision="{A}"'
    assert rest == b"R dig"
    assert found[f'fairlead_gateway_requests_total{{code="200",{labels}}}'] == 3
    assert found[f'fairlead_gateway_requests_total{{code="503",{labels}}}'] == 1
    assert found[f'fairlead_gateway_request_errors_total{{{labels},termination="SC"}}'] == 1
    assert found[f"fairlead_gateway_retries_total{{{labels}}}"] == 3
    assert found[f"fairlead_gateway_received_bytes_total{{{labels}}}"] == 361


def test_a_duration_is_counted_in_the_first_bucket_that_fits() -> None:
    counted = metrics.Metrics()
    for duration_us in (1, 500, 501, 59_999_999, 70_000_000):
        counted.requests.add(("m", "r"), "200", "--", duration_us)

    found = samples(counted)

    def bucket(bound: str) -> float:
        return found[f'fairlead_gateway_request_duration_seconds_bucket{{le="{bound}",model="m",revision="r"}}']

    assert (bucket("0.0005"), bucket("0.001"), bucket("60.0"), bucket("+Inf")) == (2, 3, 4, 5)
    assert found['fairlead_gateway_request_duration_seconds_sum{model="m",revision="r"}'] == 130.001001


def test_a_request_that_reached_no_model_has_no_name_and_no_duration() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(b"R - - 404 LR - 100 80 0\n", counted)

    found = samples(counted)
    assert found['fairlead_gateway_requests_total{code="404",model="",revision=""}'] == 1
    assert not any("duration_seconds_bucket" in name for name in found)


@pytest.mark.parametrize("ended", ["-1 CH", "-1 CR", "400 CH", "503 CC", "503 CQ"])
def test_a_disconnected_client_does_not_count_as_an_error_of_the_model(ended: str) -> None:
    counted = metrics.Metrics()

    request_log.count_lines(f"R digits {A} {ended} 50 100 0 0\n".encode(), counted)

    assert samples(counted)[f'fairlead_gateway_requests_total{{code="499",model="digits",revision="{A}"}}'] == 1


def test_copies_and_feedback_do_not_count_as_client_requests() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(
        (f"R digits {A} 200 -- 9 1 2 0 S\n" * 3 + f"R digits {A} 400 LR 9 1 2 0 F\n").encode(), counted
    )

    found = samples(counted)
    labels = f'model="digits",revision="{A}"'
    assert found[f'fairlead_gateway_shadow_copies_total{{code="200",{labels}}}'] == 3
    assert found[f'fairlead_gateway_feedback_requests_total{{code="400",{labels}}}'] == 1
    assert not any(name.startswith(("fairlead_gateway_request", "fairlead_gateway_sent")) for name in found)
    assert counted.measured.counters_of("digits", A).body()["requests"]["total"] == 0
    counted.requests.forget([])
    assert A not in counted.text().decode()


def test_a_log_line_is_marked_as_a_client_request() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(f"R digits {A} 200 -- 9 1 2 0 -\n".encode(), counted)

    assert samples(counted)[f'fairlead_gateway_requests_total{{code="200",model="digits",revision="{A}"}}'] == 1


def test_comments_are_ignored_and_invalid_lines_counted() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(
        b"Proxy data stopped (cumulated conns: FE: 5, BE: 0).\nR a b\nR a b 200 -- x 1 1 0\n", counted
    )

    assert samples(counted)["fairlead_gateway_unreadable_log_lines_total"] == 2


def test_series_of_a_removed_revision_are_dropped() -> None:
    counted = metrics.Metrics()
    request_log.count_lines((LINE + LINE.replace(A, "7ab0c9d1e2")).encode(), counted)

    counted.requests.forget([("digits", A)])

    text = counted.text().decode()
    assert A in text
    assert "7ab0c9d1e2" not in text


def test_lines_logged_without_a_reading_agent_are_read_by_the_next_one(tmp_path: Path) -> None:
    of_haproxy = request_log.open_pipe(tmp_path)
    for _ in range(5000):
        os.write(of_haproxy, LINE.encode())

    of_the_next_agent = request_log.open_pipe(tmp_path)
    counted = metrics.Metrics()
    request_log.Reader(of_the_next_agent, counted).drain()

    assert samples(counted)[f'fairlead_gateway_requests_total{{code="200",model="digits",revision="{A}"}}'] == 5000
    os.close(of_haproxy)
    os.close(of_the_next_agent)


def test_a_proof_does_not_count_as_a_client_request() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(f"R digits {A} 200 -- 9 1 2 0 P\n".encode(), counted)

    found = samples(counted)
    assert found[f'fairlead_gateway_proofs_total{{code="200",model="digits",revision="{A}"}}'] == 1
    assert not any(name.startswith(("fairlead_gateway_request", "fairlead_gateway_sent")) for name in found)
    assert counted.measured.counters_of("digits", A).body()["requests"]["total"] == 0


def test_haproxys_own_remarks_are_heard_and_not_counted() -> None:
    counted = metrics.Metrics()
    remarks: list[int] = []

    request_log.count_lines(
        f"{LINE}Server p0001/{A}-0000000000000001 is UP.\n{LINE}".encode(), counted, on_remark=lambda: remarks.append(1)
    )

    assert len(remarks) == 1
    found = samples(counted)
    assert found[f'fairlead_gateway_requests_total{{code="200",model="digits",revision="{A}"}}'] == 2


def test_a_hold_is_counted_when_it_ends_and_announced_when_it_begins() -> None:
    counted = metrics.Metrics()
    remarks: list[str] = []
    ends = ("begin 0", "released 2400", "timeout 60000", "left 30", "passed 100", "refused 0")
    lines = "".join(f"H digits {end}\n" for end in ends)

    request_log.count_lines(lines.encode(), counted, on_remark=lambda: remarks.append("changed"))

    found = samples(counted)
    assert len(remarks) == 6
    for end in ("released", "left", "timeout", "refused"):
        assert found[f'fairlead_gateway_held_requests_ended_total{{end="{end}",model="digits"}}'] == 1
    assert not any("passed" in name or "begin" in name for name in found)
    assert found['fairlead_gateway_hold_duration_seconds_sum{model="digits"}'] == 2.4
    assert found['fairlead_gateway_hold_duration_seconds_bucket{le="3.0",model="digits"}'] == 1
    assert found['fairlead_gateway_hold_duration_seconds_bucket{le="2.0",model="digits"}'] == 0
    counted.holds.follow(())
    assert not any("hold" in name for name in samples(counted) if "{" in name)


def test_only_clients_requests_that_have_a_revision_count_as_requests_of_a_model() -> None:
    asked: list[str] = []
    lines = f"{LINE}R digits {A} 200 -- 1 1 1 0 P\nR digits {A} 200 -- 1 1 1 0 S\nR digits - 404 -- 1 1 1 0 -\n"

    request_log.count_lines(lines.encode(), metrics.Metrics(), on_request=asked.append)

    assert asked == ["digits"]


def test_an_odd_line_of_a_hold_is_counted_as_unreadable() -> None:
    counted = metrics.Metrics()

    request_log.count_lines(b"H digits released\n", counted)

    assert samples(counted)["fairlead_gateway_unreadable_log_lines_total"] == 1


def test_explanations_are_counted_apart_from_predictions_and_keep_a_model_in_use() -> None:
    counted = metrics.Metrics()
    used: list[str] = []

    lines = (
        f"R digits {A} 200 -- 900000 1 2 0 E\n" * 2
        + f"R digits {A} 429 -- 9 1 2 0 E\n"
        + "R digits - 503 -- 9 1 2 0 E\n"
    )
    request_log.count_lines(lines.encode(), counted, on_request=used.append)

    found = samples(counted)
    labels = f'model="digits",revision="{A}"'
    assert found[f'fairlead_gateway_explanations_total{{code="200",{labels}}}'] == 2
    assert found[f'fairlead_gateway_explanations_total{{code="429",{labels}}}'] == 1
    assert not any(name.startswith(("fairlead_gateway_request", "fairlead_gateway_sent")) for name in found)
    measured = counted.measured.counters_of("digits", A).body()["requests"]
    assert measured["total"] == 0, "an analysis of a rollout sees no explanations"
    assert used == ["digits"] * 3


def test_requests_for_metadata_are_counted_apart_from_predictions_and_keep_a_model_in_use() -> None:
    counted = metrics.Metrics()
    used: list[str] = []

    request_log.count_lines((LINE + f"R digits {A} 200 -- 9 1 2 0 M\n" * 3).encode(), counted, on_request=used.append)

    found = samples(counted)
    labels = f'{{code="200",model="digits",revision="{A}"}}'
    assert found[f"fairlead_gateway_metadata_requests_total{labels}"] == 3
    assert found[f"fairlead_gateway_requests_total{labels}"] == 1
    assert counted.measured.counters_of("digits", A).body()["requests"]["total"] == 1, (
        "an analysis sees predictions alone"
    )
    assert used == ["digits"] * 4
