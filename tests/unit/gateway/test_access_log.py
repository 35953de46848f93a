"""The access log: what a line says of a request, whose requests it has, and that a blocked output stops nothing."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from typing_extensions import override

from fairlead_gateway import access_log, access_metrics, metrics, request_log

A = "3f0c9a1b2d"
DESCRIBED = "- 10.1.2.3 POST alice r-1 /v2/models/digits/infer"


def written(lines: str) -> list[dict[str, Any]]:
    """What the access log has after HAProxy's lines."""
    stream = io.BytesIO()
    writer = access_log.Writer(stream, access_metrics.AccessLog())
    request_log.count_lines(lines.encode(), metrics.Metrics(), access=writer)
    writer.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_describes_a_request() -> None:
    (line,) = written(f"R digits {A} 200 -- 1234 120 250 +1 - {DESCRIBED}\n")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "requestId": "r-1",
        "address": "10.1.2.3",
        "client": "alice",
        "protocol": "http",
        "method": "POST",
        "path": "/v2/models/digits/infer",
        "kind": "prediction",
        "model": "digits",
        "revision": A,
        "code": 200,
        "termination": "--",
        "durationMilliseconds": 1.234,
        "receivedBytes": 120,
        "sentBytes": 250,
        "retries": 1,
    }


def test_what_a_request_does_not_have_is_null() -> None:
    (line,) = written("R - - -1 CR - 0 0 0 - - ::1 - - - <BADREQ>\n")
    assert (line["model"], line["revision"], line["client"], line["requestId"]) == (None,) * 4
    assert (line["code"], line["durationMilliseconds"]) == (499, 0)


def test_a_call_of_grpc_is_named_by_its_method() -> None:
    path = "/rpc/models/digits/versions/3/inference.GRPCInferenceService/ModelInfer"
    (line,) = written(f"R digits {A} 200 -- 1 1 1 0 - rpc ::1 POST - - {path}\n")
    assert (line["protocol"], line["path"]) == ("grpc", "/inference.GRPCInferenceService/ModelInfer")


@pytest.mark.parametrize("kind", ["-", "E", "F", "M", "P", "S"])
def test_whatever_comes_to_the_port_of_clients_is_logged_also_what_says_that_it_is_no_client(kind: str) -> None:
    assert len(written(f"R digits {A} 401 -- 1 1 1 0 {kind} {DESCRIBED}\n")) == 1
    assert written(f"R digits {A} 200 -- 1 1 1 0 {kind} internal {DESCRIBED.removeprefix('- ')}\n") == []


def test_what_a_client_sends_is_data_in_its_line() -> None:
    sent = '"}\n{"code":200,"x":"é\x1b[31m'
    quoted = "%22%7D%0A%7B%22code%22%3A200%2C%22x%22%3A%22%C3%A9%1B%5B31m"
    (line,) = written(f"R digits {A} 200 -- 1 1 1 0 - - ::1 GET {quoted} {quoted} /v2/{'x' * 2000}\n")
    assert (line["client"], line["requestId"], line["code"]) == (sent, sent, 200)
    assert len(line["path"]) == access_log.PATH_CHARACTERS_MAX


def test_lines_without_a_description_are_counted_alone() -> None:
    counted = metrics.Metrics()
    stream = io.BytesIO()
    writer = access_log.Writer(stream, counted.access_log)
    lines = f"R digits {A} 200 -- 1 1 1 0 -\nR digits {A} 200 -- 1 1 1 0 - - ::1 GET\n"
    request_log.count_lines(lines.encode(), counted, access=writer)
    writer.close()
    assert stream.getvalue() == b""
    assert b"fairlead_gateway_unreadable_log_lines_total 1.0" in counted.text()
    assert f'requests_total{{code="200",model="digits",revision="{A}"}} 2.0'.encode() in counted.text()
    assert b"fairlead_gateway_dropped_access_log_lines_total 0.0" in counted.text()
    assert b"dropped_access_log_lines_total 0.0" not in metrics.Metrics().text()


class Blocked(io.BytesIO):
    """An output that takes nothing until it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()

    @override
    def write(self, data: Any) -> int:
        assert self.is_read.wait(60)
        return super().write(data)


def test_lines_are_dropped_and_counted_while_nobody_reads_the_output() -> None:
    counted, stream = access_metrics.AccessLog(), Blocked()
    writer = access_log.Writer(stream, counted)
    for number in range(200):
        writer.add(str(number))
        writer.flush()
    assert counted.dropped is not None
    assert 0 < counted.dropped < 200
    stream.is_read.set()
    writer.close()
    kept = [int(line) for line in stream.getvalue().split()]
    assert kept == sorted(kept)
    assert len(kept) == 200 - counted.dropped


def test_a_full_disk_loses_lines_that_are_counted_and_ends_nothing() -> None:
    counted = access_metrics.AccessLog()
    with open("/dev/full", "wb", buffering=0) as stream:
        writer = access_log.Writer(stream, counted)  # type: ignore[arg-type]
        for _ in range(3):
            writer.add("a line")
            writer.add("another one")
            writer.flush()
        writer.close()
    assert counted.dropped == 6
