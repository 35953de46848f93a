"""A replica with a payload log, over its sockets and protocols, and a sink that receives real requests."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from tests.support import guard_parts, payload_sink, replica_parts
from tests.support.replica_parts import MODEL, REVISION, ROW, DoublingModel, Running, Setting, wait_until

from fairlead_runtime.config import GuardMode, Payloads
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import batching
from fairlead_runtime.payload_counters import Outcome
from fairlead_runtime.payloads import log, sender
from fairlead_runtime.payloads.event import Event
from fairlead_runtime.payloads.sink import SinkError
from fairlead_runtime.protocols.grpc import v2_messages
from fairlead_runtime.protocols.inferring import INLINE_VALUES
from fairlead_runtime.server.limits import ServerLimits

INFER = f"/v2/models/{MODEL}/infer"
PREDICT = f"/v1/models/{MODEL}:predict"
RPC = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelInfer"
ON_THREAD = 0.01
ROWS = [[1.25, 2.5, 3.75, 5.0]]


def settings(url: str = "http://127.0.0.1:1", **given: Any) -> Payloads:
    return Payloads.model_validate({"url": url, "samplePercent": 100, **given})


def post(path: str, body: bytes, request_id: str = "", *, headers: str = "") -> bytes:
    named = headers + (f"x-request-id: {request_id}\r\n" if request_id else "")
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{named}connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def v2(rows: Any, request_id: str = "") -> bytes:
    array = np.asarray(rows, np.float32)
    tensor = {"name": "x", "shape": list(array.shape), "datatype": "FP32", "data": array.reshape(-1).tolist()}
    return post(INFER, orjson.dumps({"inputs": [tensor]}), request_id)


def v1(rows: Any, request_id: str = "") -> bytes:
    return post(PREDICT, orjson.dumps({"instances": np.asarray(rows).tolist()}), request_id)


def grpc(rows: Any, request_id: str = "") -> bytes:
    array = np.asarray(rows, np.float32)
    asked = v2_messages.MESSAGES["ModelInferRequest"](model_name=MODEL)
    asked.inputs.add(name="x", datatype="FP32", shape=array.shape)
    asked.raw_input_contents.append(array.tobytes())
    message = asked.SerializeToString()
    return post(RPC, b"\0" + len(message).to_bytes(4, "big") + message, request_id)


def status(raw: bytes) -> int:
    return int(raw.split(b" ")[1])


def outcomes(replica: Running) -> dict[Outcome, int]:
    return {outcome: count for outcome, count in replica.parts.metrics.payloads.outcomes.items() if count}


@pytest.mark.parametrize(("ask", "protocol"), [(v2, "v2"), (v1, "v1"), (grpc, "v2_grpc")])
@pytest.mark.parametrize("call_s", [0.0, ON_THREAD])
def test_an_answered_prediction_is_sent_as_one_cloud_event(
    ask: Callable[[Any, str], bytes], protocol: str, call_s: float
) -> None:
    with payload_sink.receiving() as sink:
        with replica_parts.running(Setting(payloads=settings(sink.url), call_s=call_s)) as replica:
            assert status(replica.send(ask(ROWS, "order-7"))) == 200
            (event,) = sink.events(1)
            wait_until(lambda: outcomes(replica) == {Outcome.SENT: 1})
        assert sink.requests[0][0] == "/events"
    assert event["type"] == "dev.fairlead.prediction.v1"
    assert event["source"] == f"/namespaces/default/models/{MODEL}/revisions/{REVISION}"
    assert event["requestid"] == "order-7"
    data = event["data"]
    assert (data["protocol"], data["revision"], data["revisionNumber"]) == (protocol, REVISION, 3)
    assert data["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, ROW], "data": ROWS[0]}]
    assert data["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, ROW], "data": [2 * value for value in ROWS[0]]}
    ]


def test_an_event_of_a_shared_call_has_the_rows_of_its_own_request() -> None:
    gate = threading.Event()
    model = DoublingModel(gate=gate)
    setting = Setting(model=model, call_s=ON_THREAD, sharing=batching.Sharing(is_proved=True))
    with payload_sink.receiving() as sink:
        setting.payloads = settings(sink.url)
        with replica_parts.running(setting) as replica, ThreadPoolExecutor(9) as clients:
            answers = [clients.submit(replica.send, v2([[float(i)] * ROW], f"client-{i}")) for i in range(9)]
            wait_until(lambda: replica.parts.plane.pending == 9)
            gate.set()
            assert {status(each.result()) for each in answers} == {200}
            events = sink.events(9)
    assert max(model.rows) > 1, "no call was shared"
    for event in events:
        own = float(event["requestid"].removeprefix("client-"))
        (given,), (got,) = event["data"]["inputs"], event["data"]["outputs"]
        assert (given["data"], got["data"]) == ([own] * ROW, [2 * own] * ROW)
    assert len({event["id"] for event in events}) == 9


def test_a_candidate_logs_the_copies_that_it_gets_under_its_own_revision() -> None:
    with payload_sink.receiving() as sink, replica_parts.running(Setting(payloads=settings(sink.url))) as replica:
        mark = f"x-fairlead-shadow-copy: {replica.parts.copy_mark(REVISION)}\r\n"
        body = orjson.dumps({"instances": ROWS})
        assert status(replica.send(post(PREDICT, body, "order-7", headers=mark))) == 200
        (event,) = sink.events(1)
        assert status(replica.send(post(PREDICT, body, headers=mark.replace(": ", ": x")))) == 403
        wait_until(lambda: outcomes(replica) == {Outcome.SENT: 1})
    assert (event["requestid"], event["data"]["revision"]) == ("order-7", REVISION)


def test_a_compressed_request_is_logged_and_an_explanation_is_not() -> None:
    with payload_sink.receiving() as sink, replica_parts.running(Setting(payloads=settings(sink.url))) as replica:
        tensor = {"name": "x", "shape": [1, ROW], "datatype": "FP32", "data": ROWS[0]}
        explained = replica.send(post(f"/v2/models/{MODEL}/explain", orjson.dumps({"inputs": [tensor]})))
        assert status(explained) == 200, explained
        packed = gzip.compress(orjson.dumps({"instances": ROWS}))
        assert status(replica.send(post(PREDICT, packed, "packed", headers="content-encoding: gzip\r\n"))) == 200
        (event,) = sink.events(1)
        wait_until(lambda: outcomes(replica) == {Outcome.SENT: 1})
    assert (event["requestid"], event["data"]["inputs"][0]["data"]) == ("packed", ROWS[0])


def test_refused_requests_are_not_logged() -> None:
    training = np.random.default_rng(2).uniform(0, 1, (1200, ROW)).astype(np.float32)
    guards = guard_parts.build({Guard.RANGE: GuardMode.REJECT}, training=[training])
    with (
        payload_sink.receiving() as sink,
        replica_parts.running(Setting(payloads=settings(sink.url), guards=guards)) as replica,
    ):
        assert status(replica.send(v2([[9.0] * ROW]))) == 422
        assert status(replica.send(v1([["a text"] * ROW]))) == 400
        assert status(replica.send(post(f"/v2/models/{MODEL}", b""))) == 405
        assert status(replica.send(v2([[0.5] * ROW], "last"))) == 200
        assert [event["requestid"] for event in sink.events(1)] == ["last"]
        wait_until(lambda: outcomes(replica) == {Outcome.SENT: 1})


def test_a_large_answer_that_is_encoded_on_a_thread_is_logged_by_its_shape() -> None:
    rows = np.full((INLINE_VALUES // ROW + 1, ROW), 0.5, np.float32)
    with payload_sink.receiving() as sink:
        limits = ServerLimits(body_bytes_max=2**20)
        setting = Setting(payloads=settings(sink.url, maxEventBytes=1024), limits=limits)
        with replica_parts.running(setting) as replica:
            assert status(replica.send(grpc(rows))) == 200
            (event,) = sink.events(1)
    assert event["data"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [*rows.shape], "omitted": "Size"}]


def test_the_log_is_changed_and_turned_off_while_requests_are_answered() -> None:
    with payload_sink.receiving() as sink, replica_parts.running() as replica:
        configure = replica.parts.payloads.configure
        assert status(replica.send(v2(ROWS, "before"))) == 200
        assert b"fairlead_replica_payload_events_total{" not in replica.parts.metrics.text()
        replica.server.run(lambda: configure(settings(sink.url)))
        assert status(replica.send(v2(ROWS, "on"))) == 200
        sink.events(1)
        replica.server.run(lambda: configure(settings(sink.url, redact=["x", "y"])))
        assert status(replica.send(v2(ROWS, "redacted"))) == 200
        sink.events(2)
        replica.server.run(lambda: configure(None))
        assert status(replica.send(v2(ROWS, "after"))) == 200
        events = sink.events(2)
        wait_until(lambda: outcomes(replica) == {Outcome.SENT: 2})
        assert b'outcome="Sent",' in replica.parts.metrics.text()
    assert [event["requestid"] for event in events] == ["on", "redacted"]
    assert [each["omitted"] for each in events[1]["data"]["inputs"] + events[1]["data"]["outputs"]] == ["Redacted"] * 2


def test_nothing_is_sent_where_a_name_to_redact_does_not_exist(caplog: pytest.LogCaptureFixture) -> None:
    with payload_sink.receiving() as sink:
        with replica_parts.running(Setting(payloads=settings(sink.url, redact=["X"]))) as replica:
            assert status(replica.send(v2(ROWS))) == 200
            assert outcomes(replica) == {Outcome.UNKNOWN_NAME: 1}
        assert sink.requests == []
    assert "the model has no input or output 'X'" in caplog.text


class HeldSink:
    """Takes no event before the gate opens; refuses them after it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_asked = threading.Event()

    def send(self, event: bytes) -> None:
        self.is_asked.set()
        self.gate.wait(200)
        raise SinkError(Outcome.REFUSED, "it answered 500")


@pytest.mark.parametrize("bound", ["events", "bytes"])
def test_a_sink_that_hangs_costs_events_and_no_prediction(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bound == "events":
        monkeypatch.setattr(sender, "QUEUED_MAX", 3)
    else:
        # The inputs and outputs of a row take 32 bytes.
        monkeypatch.setattr(sender, "QUEUED_BYTES_MAX", 96)
    held = HeldSink()
    with replica_parts.running(Setting(payloads=settings(), open_sink=lambda _: held)) as replica:
        assert status(replica.send(v2(ROWS))) == 200
        assert held.is_asked.wait(100)
        assert {status(replica.send(v2(ROWS))) for _ in range(10)} == {200}
        assert outcomes(replica) == {Outcome.QUEUE_FULL: 7}
        replica.server.run(lambda: replica.parts.payloads.configure(None))
        held.gate.set()
        wait_until(lambda: sum(outcomes(replica).values()) == 11)


def test_nothing_is_copied_for_a_queue_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Event) -> Event:
        raise AssertionError("it was copied")

    monkeypatch.setattr(sender, "QUEUED_MAX", 0)
    monkeypatch.setattr(Event, "copied", fail)
    with replica_parts.running(Setting(payloads=settings())) as replica:
        assert status(replica.send(v2(ROWS))) == 200
        assert outcomes(replica) == {Outcome.QUEUE_FULL: 1}


def test_an_event_that_cannot_be_copied_costs_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Event) -> Event:
        raise MemoryError

    monkeypatch.setattr(Event, "copied", fail)
    with replica_parts.running(Setting(payloads=settings())) as replica, replica.connect() as client:
        asked = v2(ROWS).replace(b"connection: close\r\n", b"")
        for _ in range(3):
            client.sendall(asked)
            assert status(replica_parts.read_answers(client, 1)) == 200
        wait_until(lambda: outcomes(replica) == {Outcome.INTERNAL: 3})
    (line,) = [each for each in caplog.records if each.name == log.LOG.name and each.levelname == "ERROR"]
    assert "an event of the payload log could not be made" in line.getMessage()


def test_the_same_request_is_in_the_sample_of_every_replica() -> None:
    ids = [b"request-%d" % i for i in range(4000)]
    chosen = {percent: {each for each in ids if log.is_sampled(each, percent)} for percent in (1, 10, 50, 100)}
    assert chosen[1] < chosen[10] < chosen[50] < chosen[100] == set(ids)
    assert 300 < len(chosen[10]) < 500


def test_an_id_that_can_be_no_attribute_decides_as_any_other() -> None:
    with (
        payload_sink.receiving() as sink,
        replica_parts.running(Setting(payloads=settings(sink.url, samplePercent=50))) as replica,
    ):
        ids = [f"{number} of a day" for number in range(20)]
        for each in ids:
            assert status(replica.send(v2(ROWS, each))) == 200
        wanted = sum(log.is_sampled(each.encode(), 50) for each in ids)
        assert 0 < wanted < 20
        events = sink.events(wanted)
        wait_until(lambda: outcomes(replica) == {Outcome.SENT: wanted})
    assert not any("requestid" in event for event in events)


def test_requests_without_an_id_are_sampled_by_chance() -> None:
    found = sum(log.is_sampled(None, 50) for _ in range(4000))
    assert 1700 < found < 2300


SECRET = "4711.0625"


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9"])
def test_no_log_holds_what_a_request_has(url: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    training = np.random.default_rng(2).uniform(0, 5000, (1200, ROW)).astype(np.float32)
    guards = guard_parts.build({Guard.RANGE: GuardMode.REJECT}, training=[training])
    with replica_parts.running(Setting(guards=guards, payloads=None if url is None else settings(url))) as replica:
        row = [float(SECRET)] * ROW
        assert [status(replica.send(ask([row], "id"))) for ask in (v1, v2, grpc)] == [200] * 3
        assert status(replica.send(v2([[float(SECRET) * 1000] * ROW]))) == 422
        assert status(replica.send(post(INFER, b'{"inputs": [' + SECRET.encode()))) == 400
        assert status(replica.send(post(PREDICT, orjson.dumps({"instances": [[SECRET] * ROW]})))) == 400
        if url is not None:
            wait_until(lambda: Outcome.UNREACHABLE in outcomes(replica))
            assert "was not sent (Unreachable): http://127.0.0.1:9: ConnectionRefusedError" in caplog.text
        assert SECRET.encode() not in replica.parts.metrics.text()
    assert "4711" not in caplog.text
