"""Spans of requests to a replica that listens, as a collector of OpenTelemetry decodes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support.replica_parts import (
    MODEL,
    NAME,
    REVISION,
    DoublingModel,
    Running,
    Setting,
    float_signature,
    post,
    read_all,
    running,
    wait_until,
)
from tests.support.span_collector import Collector, attributes, collecting

from fairlead_runtime.inference import batching
from fairlead_runtime.protocols.grpc import frame
from fairlead_runtime.protocols.grpc.v2_messages import MESSAGES
from fairlead_runtime.tracing import tracer
from fairlead_spans import exporter
from fairlead_spans.counters import SpanCounters

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
NAMES = tracer.Names(namespace="default", model=MODEL, revision=REVISION, replica=NAME)
PREDICT = f"/v1/models/{MODEL}:predict"
ROW = {"instances": [[1, 2, 3, 4]]}


@contextmanager
def traced(share: float, setting: Setting | None = None) -> Iterator[tuple[Running, Collector, SpanCounters]]:
    chosen, counted = setting or Setting(), SpanCounters()
    with collecting() as collector:
        settings = exporter.Settings(
            endpoint=collector.url, resource=NAMES.describe(), trust=None, collect_s=0.01, pause_s=0.01
        )
        sender = exporter.Exporter(settings, counted)
        chosen.record = tracer.Tracer(NAMES, share, sender.offer).record
        try:
            with running(chosen) as replica:
                yield replica, collector, counted
        finally:
            sender.close()


def send(replica: Running, path: str, body: object, *headers: tuple[str, str]) -> bytes:
    """The answer to one request, with headers that may repeat."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    head, end, content = post(path, body).partition(b"\r\n")
    with replica.connect() as client:
        client.sendall(head + end + lines + content)
        return read_all(client)


def children(collector: Collector, own: trace_pb2.Span) -> dict[str, trace_pb2.Span]:
    return {span.name: span for span in collector.spans() if span.parent_span_id == own.span_id}


def test_a_request_is_a_child_of_its_client_s_span_with_its_parts_below_it() -> None:
    before_ns = time.time_ns()
    with traced(0) as (replica, collector, counted):
        headers = (("traceparent", SAMPLED), ("tracestate", "a=1"), ("tracestate", "b=2"), ("x-request-id", "mine"))
        assert b" 200 " in send(replica, PREDICT, ROW, *headers)
        (own,) = collector.wait_for("predict")
        below = children(collector, own)
    after_ns = time.time_ns()
    assert (own.trace_id.hex(), own.parent_span_id.hex(), own.trace_state) == (TRACE, SPAN, "a=1,b=2")
    assert own.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert own.flags == 0x301
    assert before_ns <= own.start_time_unix_nano < own.end_time_unix_nano <= after_ns
    assert list(below) == ["parse", "queue", "compute", "encode"]
    last_ns = own.start_time_unix_nano
    for span in below.values():
        assert span.trace_id == own.trace_id
        assert last_ns <= span.start_time_unix_nano <= span.end_time_unix_nano <= own.end_time_unix_nano
        last_ns = span.end_time_unix_nano
    found = attributes(own.attributes)
    expected = {
        "fairlead.namespace": "default",
        "fairlead.model": MODEL,
        "fairlead.revision": REVISION,
        "fairlead.request_id": "mine",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/models/{model}:predict",
        "url.path": PREDICT,
    }
    assert {name: found[name] for name in expected} == expected
    assert collector.resource() == {
        "service.name": MODEL,
        "service.namespace": "default",
        "service.version": REVISION,
        "service.instance.id": NAME,
    }
    assert set(collector.paths) == {"/v1/traces"}
    assert (counted.sent, counted.failed, counted.dropped) == (5, 0, 0)


def test_a_call_of_grpc_has_its_method() -> None:
    asked = MESSAGES["ModelInferRequest"](model_name=MODEL)
    item = asked.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    item.contents.fp32_contents.extend([1, 2, 3, 4])
    body = frame.answer(asked, "v2_grpc").body
    name = "inference.GRPCInferenceService/ModelInfer"
    with traced(0) as (replica, collector, _):
        assert b" 200 " in send(replica, f"/rpc/models/{MODEL}/{name}", body, ("traceparent", SAMPLED))
        (own,) = collector.wait_for(name)
        assert list(children(collector, own)) == ["parse", "queue", "compute", "encode"]
    found = attributes(own.attributes)
    expected = {"rpc.system.name": "grpc", "rpc.method": name, "rpc.response.status_code": "OK"}
    assert {key: found[key] for key in expected} == expected
    assert "http.route" not in found


def test_the_client_s_flag_decides_and_chance_where_it_has_none() -> None:
    """A request with the flag is sent last: what comes before it was not recorded."""
    with traced(0) as (replica, collector, _):
        send(replica, PREDICT, ROW)
        send(replica, PREDICT, ROW, ("traceparent", UNSAMPLED))
        send(replica, PREDICT, ROW, ("traceparent", SAMPLED))
        assert len(collector.wait_for("predict")) == 1
    with traced(1) as (replica, collector, _):
        send(replica, PREDICT, ROW, ("traceparent", UNSAMPLED))
        send(replica, PREDICT, ROW)
        (own,) = collector.wait_for("predict")
        assert own.parent_span_id == b""
        assert len(own.trace_id) == 16
        assert any(own.trace_id)
        assert own.flags == 0x101


@pytest.mark.parametrize(
    "values",
    [
        ["nonsense"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"ff-{TRACE}-{SPAN}-01"],
        ["0" * 10_000],
        [SAMPLED, SAMPLED],
        [SAMPLED, "nonsense"],
        [""],
    ],
    ids=["nonsense", "zero", "version", "long", "twice", "other", "empty"],
)
def test_a_parent_in_no_valid_form_begins_a_new_trace_and_is_no_error(values: list[str]) -> None:
    with traced(1) as (replica, collector, _):
        given = [("traceparent", value) for value in values]
        assert b" 200 " in send(replica, PREDICT, ROW, *given, ("tracestate", "a=1"))
        (own,) = collector.wait_for("predict")
    assert own.parent_span_id == b""
    assert own.trace_id.hex() != TRACE
    assert own.trace_state == ""


def test_a_request_that_waits_for_the_model_has_its_wait_as_a_queue() -> None:
    gate = threading.Event()
    model = DoublingModel(gate=gate)
    # Seconds: it runs on the thread.
    setting = Setting(model=model, call_s=1.0, sharing=batching.Sharing(is_proved=False))
    with traced(0, setting) as (replica, collector, _):
        first = threading.Thread(target=send, args=(replica, PREDICT, ROW))
        first.start()
        assert model.begun.wait(100)
        second = threading.Thread(target=send, args=(replica, PREDICT, ROW, ("traceparent", SAMPLED)))
        second.start()
        wait_until(lambda: replica.parts.plane.pending == 2)
        waited_since_ns = time.time_ns()
        opened_ns = time.time_ns()
        gate.set()
        first.join()
        second.join()
        (own,) = collector.wait_for("predict")
        below = children(collector, own)
    assert below["queue"].start_time_unix_nano < waited_since_ns
    assert below["queue"].end_time_unix_nano >= opened_ns - 1_000_000
    assert below["compute"].start_time_unix_nano == below["queue"].end_time_unix_nano


def test_large_requests_that_are_decoded_and_encoded_on_a_thread_have_their_parts() -> None:
    rows = [[1, 1, 1, 1]] * 2500
    with traced(0) as (replica, collector, _):
        assert b" 200 " in send(replica, PREDICT, {"instances": rows}, ("traceparent", SAMPLED))
        (own,) = collector.wait_for("predict")
        below = children(collector, own)
    assert list(below) == ["parse", "queue", "compute", "encode"]
    ends = [own.start_time_unix_nano]
    for span in below.values():
        assert span.start_time_unix_nano >= ends[-1]
        ends.append(span.end_time_unix_nano)
    assert ends[-1] <= own.end_time_unix_nano


def test_a_failure_of_the_replica_is_an_error_and_a_refusal_is_none() -> None:
    def fail(_: object) -> tuple[np.ndarray, ...]:
        raise ValueError

    with traced(0, Setting(model=fail, call_s=1.0)) as (replica, collector, _):
        assert b" 500 " in send(replica, PREDICT, ROW, ("traceparent", SAMPLED))
        (failed,) = collector.wait_for("predict")
        assert list(children(collector, failed)) == ["parse", "queue", "compute"]
        assert b" 400 " in send(replica, PREDICT, {"instances": "x"}, ("traceparent", SAMPLED))
        refused = collector.wait_for("predict", 2)[1]
        assert b" 404 " in send(replica, "/nowhere/at/all", {}, ("traceparent", SAMPLED))
        (unknown,) = collector.wait_for("POST")
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert attributes(failed.attributes)["error.type"] == "500"
    assert refused.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert attributes(refused.attributes)["http.response.status_code"] == 400
    assert attributes(unknown.attributes)["http.response.status_code"] == 404


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_call_that_ends_after_the_deadline_is_a_part_until_the_answer(is_shared: bool) -> None:
    gate = threading.Event()
    sharing = batching.Sharing(is_proved=is_shared, rows_max=8, delay_s=0.001)
    setting = Setting(model=DoublingModel(gate=gate), call_s=1.0, sharing=sharing, timeout_s=1.0)
    with traced(0, setting) as (replica, collector, _):
        try:
            assert b" 504 " in send(replica, PREDICT, ROW, ("traceparent", SAMPLED))
            (own,) = collector.wait_for("predict")
            below = children(collector, own)
        finally:
            gate.set()
    assert list(below) == ["parse", "queue", "compute"]
    assert below["compute"].start_time_unix_nano == below["queue"].end_time_unix_nano
    assert below["compute"].end_time_unix_nano <= own.end_time_unix_nano


@pytest.mark.parametrize(
    ("bounds", "status"),
    [
        pytest.param({"ongoing_max": 1, "queued_max": 0}, b" 503 ", id="a full queue"),
        pytest.param({"timeout_s": 1.0}, b" 504 ", id="the deadline"),
    ],
)
def test_a_request_whose_call_never_begins_has_its_wait_as_a_queue(bounds: dict[str, Any], status: bytes) -> None:
    gate = threading.Event()
    model = DoublingModel(gate=gate)
    setting = Setting(model=model, call_s=1.0, sharing=batching.Sharing(is_proved=False), **bounds)
    with traced(0, setting) as (replica, collector, _):
        first = threading.Thread(target=send, args=(replica, PREDICT, ROW))
        first.start()
        try:
            assert model.begun.wait(100)
            assert status in send(replica, PREDICT, ROW, ("traceparent", SAMPLED))
            (own,) = collector.wait_for("predict")
            below = children(collector, own)
        finally:
            gate.set()
            first.join()
    assert list(below) == ["parse", "queue"]
    assert below["queue"].end_time_unix_nano <= own.end_time_unix_nano


def test_health_checks_proofs_and_scrapes_have_no_span() -> None:
    with traced(1) as (replica, collector, _):
        assert b" 200 " in send(replica, f"/v2/models/{MODEL}/proof", {})
        for path in (f"/-/healthz/{NAME}", f"/-/measurements/{NAME}", "/metrics"):
            raw = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
            with replica.connect() as client:
                client.sendall(raw)
                assert b" 200 " in read_all(client)
        send(replica, PREDICT, ROW)
        collector.wait_for("predict")
        assert {span.name for span in collector.spans()} == {"predict", "parse", "queue", "compute", "encode"}


def test_without_tracing_an_answer_has_no_times() -> None:
    with running(Setting(signature=float_signature())) as replica:
        assert not replica.parts.plane.is_traced
        answer = json.loads(send(replica, PREDICT, ROW).rpartition(b"\r\n\r\n")[2])
    assert answer == {"predictions": [[2, 4, 6, 8]]}
