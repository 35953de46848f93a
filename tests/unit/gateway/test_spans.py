"""Which lines of the request log become spans, with which times; real gateways: `test_gateway_spans.py`."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support.node_members import ROOT
from tests.support.span_collector import attributes, collecting

from fairlead_gateway import main, metrics, request_log, tracing

A = "3f0c9a1b2d"
TRACE, PARENT, OWN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "1122334455667788"
ENDED_US = 1_796_144_556_326_377
DESCRIBED = "- 10.1.2.3 POST alice r-1 /v2/models/digits/infer"
NEEDED = ("--listen=127.0.0.1:8080", "--admin=127.0.0.1:8081", "--state-dir=x", "--gateway-id=g-1")


def field(timers: str = "0/1/2/3/4/10", held: str = "-", parent: str = PARENT, host: str = "x.example%3A80") -> str:
    return f"t/{ENDED_US}/{timers}/{held}/{TRACE}-{OWN}-01/{parent}/{host}"


@contextmanager
def recorded(lines: str, *flags: str) -> Iterator[tuple[list[trace_pb2.Span], metrics.Metrics]]:
    """The spans that a collector has after these lines."""
    counted = metrics.Metrics()
    with collecting() as collector:
        settings = main.parse_settings((*NEEDED, f"--traces-endpoint={collector.url}", *flags))
        recorder = tracing.start(settings, counted, version="1")
        assert recorder is not None
        request_log.count_lines(lines.encode(), counted, record=recorder.record)
        recorder.close()
        yield collector.spans(), counted


def test_a_span_lasts_as_long_as_haproxy_was_busy_with_the_request() -> None:
    with recorded(f"R digits {A} 200 -- 9000 120 250 +1 - {field()} {DESCRIBED}\n") as ((span,), counted):
        found = attributes(span.attributes)
        assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, OWN, PARENT)
        assert span.end_time_unix_nano == ENDED_US * 1000
        assert span.end_time_unix_nano - span.start_time_unix_nano == 10_000_000
        assert found["fairlead.retries"] == 1
        assert (found["server.address"], found["server.port"]) == ("x.example", 80)
        assert "alice" not in str(span)
        assert counted.spans.counted is not None
        assert counted.spans.counted.sent == 1
        assert b'fairlead_gateway_spans_total{outcome="sent"} 1.0' in counted.text()


@pytest.mark.parametrize(
    ("timers", "held", "duration_us", "lasted_us"),
    [
        ("0/0/0/0/0/0", "-", 700, 700),
        ("0/0/0/0/0/1", "-", 1900, 1900),
        ("0/-1/-1/-1/-1/-1", "-", 5, 5),
        ("0/80/0/1/0/81", "500", 900, 500_900),
        ("0/80/0/1/0/81", "20", 900, 81_000),
    ],
    ids=["below a millisecond", "cut off", "without an end", "held by another worker before", "held here"],
)
def test_a_span_begins_before_each_part_of_its_request(
    timers: str, held: str, duration_us: int, lasted_us: int
) -> None:
    line = f"R digits {A} 200 -- {duration_us} 1 1 0 - {field(timers, held)} {DESCRIBED}\n"
    with recorded(line) as ((span,), _):
        assert span.end_time_unix_nano - span.start_time_unix_nano == lasted_us * 1000


@pytest.mark.parametrize(
    ("timers", "answered_by"),
    [("0/1/2/3/4/10", "replica"), ("0/-1/-1/-1/-1/1", "gateway"), ("0/1/2/-1/-1/9", "gateway")],
)
def test_a_span_says_who_answered(timers: str, answered_by: str) -> None:
    with recorded(f"R digits {A} 503 SC 1 1 1 0 - {field(timers)} {DESCRIBED}\n") as ((span,), _):
        assert attributes(span.attributes)["fairlead.answered_by"] == answered_by
        assert span.status.code == trace_pb2.Status.STATUS_CODE_ERROR


def test_proofs_and_requests_that_are_not_traced_have_no_span() -> None:
    untraced = f"t/{ENDED_US}/0/0/0/0/0/0/-/- -"
    lines = (
        f"R digits {A} 200 -- 1 1 1 0 - {untraced}\n"
        f"R digits {A} 200 -- 1 1 1 0 P {field()} {DESCRIBED}\n"
        f"R digits {A} 200 -- 1 1 1 0 -\n"
        f"R digits {A} 200 -- 1 1 1 0 - {DESCRIBED}\n"
    )
    with recorded(lines) as (spans, counted):
        assert spans == []
        assert b"fairlead_gateway_unreadable_log_lines_total 0.0" in counted.text()


@pytest.mark.parametrize(
    "odd",
    [
        "t/1/2",
        f"t/x/0/0/0/0/0/0/-/{TRACE}-{OWN}-01/{PARENT}/x",
        f"t/1/0/0/0/0/0/0/-/{'0' * 32}-{OWN}-01/{PARENT}/x",
        f"t/1/0/0/0/0/0/0/-/{TRACE}-{OWN}-01/nothex/x",
        f"t/1/0/0/0/0/0/0/-/{TRACE}-{OWN}-01/{PARENT}",
    ],
)
def test_a_field_of_another_form_is_counted_and_makes_no_span(odd: str) -> None:
    with recorded(f"R digits {A} 200 -- 1 1 1 0 - {odd} {DESCRIBED}\n") as (spans, counted):
        assert spans == []
        assert b"fairlead_gateway_unreadable_log_lines_total 1.0" in counted.text()
        assert f'requests_total{{code="200",model="digits",revision="{A}"}} 1.0'.encode() in counted.text()


@pytest.mark.parametrize("host", ["", "%5B%3A%3A", "x%3A99999", "x%3Ay"])
def test_a_host_that_is_none_is_left_out(host: str) -> None:
    with recorded(f"R digits {A} 200 -- 1 1 1 0 - {field(host=host)} {DESCRIBED}\n") as ((span,), _):
        assert "server.address" not in attributes(span.attributes)


def test_with_tls_the_port_of_clients_is_https_and_the_internal_one_is_not() -> None:
    lines = (
        f"R digits {A} 200 -- 1 1 1 0 - {field()} {DESCRIBED}\n"
        f"R digits {A} 200 -- 1 1 1 0 S {field()} internal {DESCRIBED.removeprefix('- ')}\n"
    )
    with recorded(lines, "--tls-certificate=x", "--tls-key=y", "--internal-port=8002") as (spans, _):
        assert [attributes(span.attributes)["url.scheme"] for span in spans] == ["https", "http"]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_gateway_that_can_read_no_authority_serves_without_spans(
    content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    flags = ("--traces-endpoint=https://c:4318", f"--traces-ca-file={tmp_path / 'ca.crt'}")
    counted = metrics.Metrics()
    assert tracing.start(main.parse_settings((*NEEDED, *flags)), counted, version="1") is None
    (logged,) = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert "serving without spans error=--traces-ca-file: " in logged
    assert b"fairlead_gateway_spans_total{" not in counted.text()


def test_without_a_collector_nothing_of_tracing_is_in_the_process() -> None:
    listed = (
        "import sys; from fairlead_gateway import main, agent, tracing, metrics;"
        f" assert tracing.start(main.parse_settings({NEEDED!r}), metrics.Metrics(), version='1') is None;"
        " print(*(each for each in sys.modules if each.startswith(('opentelemetry.proto', 'fairlead_spans.'))))"
    )
    done = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"fairlead_spans.counters", "fairlead_spans.trace_context"}
