"""Explanations through a real gateway: routed as predictions are, counted apart, and never copied to a candidate."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support import replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_runtime.model.predictor import Tensors

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 3, 0, 0]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway", nodes=[make_node(tmp_path / "node")])
    made.start()
    yield made
    made.stop()


def count(gateway: Gateway, code: int) -> float:
    return gateway.metric("fairlead_gateway_explanations_total", code=str(code))


def test_explanations_follow_the_weights_and_count_as_no_predictions(gateway: Gateway) -> None:
    url = f"{gateway.url}/v2/models/digits"
    stable = replica_parts.Setting(revision=A, node=gateway.nodes[0])
    candidate = replica_parts.Setting(revision=B, node=gateway.nodes[0])
    with replica_parts.running(stable), replica_parts.running(candidate):
        revisions = {A: revision(), B: revision()}
        gateway.apply(digits=spec(A, revisions, candidate=B, candidateWeight=2500))
        for name in (A, B):
            gateway.wait_up("digits", name)
        answers = [fetch(f"{url}/explain", body=BODY) for _ in range(40)]
        assert {answer.status for answer in answers} == {200}, answers[0].text
        assert Counter(answer.headers["x-fairlead-revision"] for answer in answers) == {A: 30, B: 10}
        assert answers[0].json["outputs"][0]["data"] == [0, 6, 0, 0]
        pinned = fetch(f"{url}/explain", body=BODY, headers={"x-fairlead-revision": B})
        by_path = fetch(f"{url}/versions/{B}/explain", body=BODY)
        by_label = fetch(f"{url}/labels/candidate/explain", body=BODY)
        assert {each.headers["x-fairlead-revision"] for each in (pinned, by_path, by_label)} == {B}
        assert fetch(f"{url}/explain", body=b"{}").status == 400
        until(lambda: count(gateway, 200) == 43, "the explanations are counted")
        until(lambda: count(gateway, 400) == 1, "a refusal is counted")
        measured = gateway.measurements("digits")["revisions"]
        assert [measured.get(name, {"requests": {"total": 0}})["requests"]["total"] for name in (A, B)] == [0, 0]
        assert gateway.metric("fairlead_gateway_requests_total", model="digits") == 0


def test_predictions_are_answered_while_a_replica_explains(gateway: Gateway) -> None:
    begun, gate = threading.Event(), threading.Event()

    def model(inputs: Tensors) -> Tensors:
        if threading.current_thread().name == "fairlead-explanations":
            begun.set()
            gate.wait(200)
        return (np.asarray(inputs[0] * 2),)

    url = f"{gateway.url}/v2/models/digits"
    with replica_parts.running(replica_parts.Setting(revision=A, model=model, node=gateway.nodes[0])):
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        answers: list[int] = []
        waiting = threading.Thread(target=lambda: answers.append(fetch(f"{url}/explain", body=BODY).status))
        waiting.start()
        try:
            assert begun.wait(60)
            assert {fetch(f"{url}/infer", body=BODY).status for _ in range(20)} == {200}
        finally:
            gate.set()
            waiting.join()
        assert answers == [200]


def test_explanations_are_not_copied_to_a_shadow_candidate(gateway: Gateway) -> None:
    url = f"{gateway.url}/v2/models/digits"
    stable = replica_parts.Setting(revision=A, node=gateway.nodes[0])
    candidate = replica_parts.Setting(revision=B, node=gateway.nodes[0])
    with replica_parts.running(stable), replica_parts.running(candidate):
        gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B, shadow=10_000))
        for name in (A, B):
            gateway.wait_up("digits", name)
        assert {fetch(f"{url}/explain", body=BODY).status for _ in range(5)} == {200}
        assert fetch(f"{url}/infer", body=BODY).status == 200
        until(
            lambda: gateway.metric("fairlead_gateway_shadow_copies_total", revision=B) == 1, "the prediction is copied"
        )
        assert gateway.metric("fairlead_gateway_explanations_total", revision=A) == 5
        assert gateway.metric("fairlead_gateway_explanations_total", revision=B) == 0
