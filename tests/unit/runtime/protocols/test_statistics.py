"""Triton's statistics extension, by REST and by gRPC, of the same replica."""

from __future__ import annotations

import threading
import time
from typing import Any

import orjson
import pytest
from tests.support.replica_parts import (
    MODEL,
    NAME,
    DoublingModel,
    Parts,
    Setting,
    answer_of,
    assemble_inline,
    post,
    request,
    running,
    wait_until,
)

from fairlead_runtime.inference.batching import Sharing
from fairlead_runtime.protocols.grpc import v2_messages

V2 = v2_messages.MESSAGES
STATS = f"/v2/models/{MODEL}/stats"
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


def infer_body(rows: int, *, size: int = 4) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, size], "data": [1.0] * rows * size}
    return {"inputs": [tensor]}


def ask(parts: Parts, body: object) -> int:
    return answer_of(parts.handler, request("POST", f"/v2/models/{MODEL}/infer", body)).status


def statistics_of(parts: Parts) -> dict[str, Any]:
    answer = answer_of(parts.handler, request("GET", STATS))
    assert (answer.status, answer.headers) == (200, ((b"x-fairlead-replica", NAME.encode()),))
    (counted,) = orjson.loads(answer.body)["model_stats"]
    found: dict[str, Any] = counted
    return found


def test_answered_and_refused_requests_are_counted_apart_with_their_times() -> None:
    parts = assemble_inline()
    before = statistics_of(parts)
    assert (before["last_inference"], before["inference_stats"]["success"]) == (0, {"count": 0, "ns": 0})

    assert [ask(parts, infer_body(1)), ask(parts, infer_body(3)), ask(parts, infer_body(2, size=3))] == [200, 200, 400]

    found = statistics_of(parts)
    assert (found["name"], found["version"], found["batch_stats"]) == (MODEL, "3", [])
    assert (found["inference_count"], found["execution_count"]) == (4, 2)
    assert abs(found["last_inference"] / 1000 - time.time()) < 60
    times = found["inference_stats"]
    assert {name: times[name]["count"] for name in times} == {
        **dict.fromkeys(("success", *PARTS), 2),
        "fail": 1,
        "cache_hit": 0,
        "cache_miss": 0,
    }
    assert all(times[name]["ns"] > 0 for name in ("success", "fail", *PARTS))
    assert abs(sum(times[name]["ns"] for name in PARTS) - times["success"]["ns"]) < len(PARTS)


def test_grpc_answers_with_the_same_counters() -> None:
    parts = assemble_inline()
    ask(parts, infer_body(3))
    asked = V2["ModelStatisticsRequest"](name=MODEL, version="v2").SerializeToString()
    path = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelStatistics"
    answer = answer_of(parts.handler, request("POST", path, b"\0" + len(asked).to_bytes(4, "big") + asked))
    assert answer.headers == ((b"x-fairlead-replica", NAME.encode()),)
    (found,) = V2["ModelStatisticsResponse"].FromString(answer.body[5:]).model_stats
    expected = statistics_of(parts)
    assert (found.name, found.version, found.inference_count, found.execution_count) == (MODEL, "3", 3, 1)
    for name, duration in expected["inference_stats"].items():
        of_grpc = getattr(found.inference_stats, name)
        assert {"count": of_grpc.count, "ns": of_grpc.ns} == duration


def test_waiting_for_another_call_is_queue_and_not_compute() -> None:
    gate = threading.Event()
    model = DoublingModel(gate=gate)
    setting = Setting(model=model, call_s=1.0, sharing=Sharing(is_proved=False))
    with running(setting) as replica:
        asked = post(f"/v2/models/{MODEL}/infer", infer_body(1))
        answers: list[bytes] = []
        begun_s = time.perf_counter()
        threads = [threading.Thread(target=lambda: answers.append(replica.send(asked))) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert model.begun.wait(100)
        wait_until(lambda: replica.parts.plane.queued == 1)
        both_there_s = time.perf_counter()
        time.sleep(0.05)
        held_s = time.perf_counter() - both_there_s
        gate.set()
        for thread in threads:
            thread.join()
        whole_s = time.perf_counter() - begun_s
        times = statistics_of(replica.parts)["inference_stats"]
    assert [b" 200 OK" in answer for answer in answers] == [True, True]
    # The first request's call and the second one's wait both last as long as the gate was held. Were the wait counted
    # as a call, both calls together would last longer than they can, one after the other. Both may wait at a time.
    for part, at_a_time in (("queue", 2), ("compute_infer", 1)):
        assert held_s * 1e9 <= times[part]["ns"] <= at_a_time * whole_s * 1e9, part


def test_a_client_that_is_gone_counts_as_neither() -> None:
    gate = threading.Event()
    model = DoublingModel(gate=gate)
    with running(Setting(model=model, call_s=1.0)) as replica:
        assert replica.send_and_end(post(f"/v2/models/{MODEL}/infer", infer_body(1))) == b""
        assert model.begun.wait(100)
        gate.set()
        wait_until(lambda: replica.parts.plane.pending == 0)
        counted = replica.parts.metrics.predictions
        assert (counted.answered, counted.refused) == (0, 0)


@pytest.mark.parametrize("rows", [1, 2000], ids=["decoded on the loop", "decoded on a thread"])
def test_a_request_that_runs_out_of_time_is_counted_once(rows: int) -> None:
    gate = threading.Event()
    with running(Setting(model=DoublingModel(gate=gate), call_s=1.0, timeout_s=0.01)) as replica:
        answer = replica.send(post(f"/v2/models/{MODEL}/infer", infer_body(rows)))
        gate.set()
        counted = replica.parts.metrics.predictions
        assert (b" 504 " in answer, counted.answered, counted.refused) == (True, 0, 1)
        assert counted.refused_s >= 0.01
