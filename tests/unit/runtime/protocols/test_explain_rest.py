"""`POST /v2/models/digits/explain` of a replica: answers, refusals, its own queue and thread, and what is counted."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from tests.support.replica_parts import DoublingModel, Running, Setting, post, read_answers, running, wait_until

from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.inference.explaining import QUEUED_MAX
from fairlead_runtime.model.predictor import ModelFailedError, Tensors

PATH = "/v2/models/digits/explain"
ROW = [1.0, 5.0, 0.0, 2.0]


def body(rows: list[list[float]] | None = None, **parameters: object) -> dict[str, Any]:
    rows = rows or [ROW]
    data = [value for row in rows for value in row]
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": data}
    return {"inputs": [tensor], **({"parameters": parameters} if parameters else {})}


def ask(replica: Running, asked: object, path: str = PATH) -> tuple[int, dict[str, bytes], bytes]:
    head, _, raw = replica.send(post(path, asked)).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.decode(): value for name, _, value in (line.partition(b": ") for line in lines)}
    return int(status.split()[1]), headers, raw


def tensors(raw: bytes) -> dict[str, Any]:
    return {each["name"]: np.reshape(each["data"], each["shape"]).tolist() for each in orjson.loads(raw)["outputs"]}


def outcomes(replica: Running) -> dict[str, int]:
    return {name: count for name, count in replica.parts.metrics.explanations.outcomes.items() if count}


def test_an_explanation_is_an_answer_of_the_open_inference_protocol() -> None:
    with running() as replica:
        status, headers, raw = ask(replica, {"id": "7", **body([ROW, [0.0, 0.0, 3.0, 0.0]])})
        answered = orjson.loads(raw)
        assert status == 200, raw
        assert (answered["model_name"], answered["model_version"], answered["id"]) == ("digits", "3", "7")
        assert answered["parameters"] == {"method": "occlusion", "output": "y", "steps": 256}
        assert [each["datatype"] for each in answered["outputs"]] == ["FP32", "INT64", "FP64", "FP64"]
        assert tensors(raw) == {
            "attributions": [[0, 10, 0, 0], [0, 0, 6, 0]],
            "target": [1, 2],
            "score": [10, 6],
            "baseline_score": [0, 0],
        }
        assert headers["x-fairlead-revision"]
        assert "x-fairlead-feedback" not in headers, "an explanation is no prediction that a label could be for"


def test_parameters_choose_the_class_the_baseline_and_the_steps() -> None:
    with running() as replica:
        asked = body(target=3, baseline=1.5, steps=8, output="y", method="occlusion")
        status, _, raw = ask(replica, asked, path="/v2/models/digits/versions/v2/explain")
        assert status == 200, raw
        assert tensors(raw) == {"attributions": [[0, 0, 0, 1]], "target": [3], "score": [4], "baseline_score": [3]}
        assert orjson.loads(raw)["parameters"]["steps"] == 8


def test_an_explanation_comes_as_binary_tensors_where_it_is_asked_for_so() -> None:
    with running() as replica:
        status, headers, raw = ask(replica, body(binary_data_output=True))
        assert status == 200, raw
        length = int(headers["inference-header-content-length"])
        described = orjson.loads(raw[:length])["outputs"]
        sizes = [each["parameters"]["binary_data_size"] for each in described]
        assert sum(sizes) == len(raw) - length
        assert np.frombuffer(raw[length : length + sizes[0]], np.float32).tolist() == [0, 10, 0, 0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        pytest.param({}, "inputs must be a list", id="no inputs"),
        pytest.param({"inputs": []}, "input 'x' is missing", id="no tensor"),
        pytest.param({**body(), "outputs": [{"name": "y"}]}, "outputs: leave it out", id="outputs"),
        pytest.param({**body(), "id": 7}, "id must be a string", id="id"),
        pytest.param(body(step=9), "the parameter 'step' is not supported", id="an unknown parameter"),
        pytest.param(body(steps=7), "parameters.steps must be a whole number from 8 to 256, got 7", id="few steps"),
        pytest.param(body(steps=257), "parameters.steps .* got 257", id="many steps"),
        pytest.param(body(steps=True), "parameters.steps .* got true", id="steps that are none"),
        pytest.param(body(target=-1), "parameters.target .* got -1", id="a negative class"),
        pytest.param(body(target=4), "parameters.target: there is no class 4", id="no such class"),
        pytest.param(body(target="best"), "parameters.target must be .*top.* got 'best'", id="a word for a class"),
        pytest.param(body(output=3), "parameters.output must be the name", id="an output that is no name"),
        pytest.param(body(output="z"), "parameters.output: 'z'", id="no such output"),
        pytest.param(body(baseline="0"), "parameters.baseline must be a finite number", id="a baseline as text"),
        pytest.param(
            body(baseline=1e300), "parameters.baseline: 1e\\+300 is no value of float32", id="a large baseline"
        ),
        pytest.param(body(method="shap"), "parameters.method must be one of 'auto'", id="an unknown method"),
        pytest.param(body(method="integrated_gradients"), "parameters.method: .*use occlusion", id="no gradient"),
        pytest.param(body(binary_data_output=1), "parameters.binary_data_output", id="binary"),
        pytest.param(body([ROW] * 17), "input 'x': at most 16 rows", id="too many rows"),
        pytest.param(b"{", "not JSON", id="no JSON"),
    ],
)
def test_a_bad_request_is_refused_and_its_field_named(asked: object, sentence: str) -> None:
    with running() as replica:
        status, _, raw = ask(replica, asked)
        assert status == 400, raw
        message = orjson.loads(raw)["error"]
        assert re.search(sentence, message), message
        assert outcomes(replica) == {"refused": 1}


def test_only_post_is_allowed() -> None:
    with running() as replica:
        answer = replica.send(b"GET " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nallow: POST\r\n" in answer


class Held:
    """Doubles; a call of an explanation, which is one of the explanations' thread, waits for `gate`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.threads: set[str] = set()

    def __call__(self, inputs: Tensors) -> Tensors:
        self.threads.add(threading.current_thread().name)
        if threading.current_thread().name == "fairlead-explanations":
            self.begun.set()
            self.gate.wait(200)
        return (np.asarray(inputs[0] * 2),)


@pytest.mark.parametrize("call_s", [pytest.param(0.0, id="on the loop"), pytest.param(1.0, id="on the thread")])
def test_predictions_and_health_go_on_while_explanations_run_and_wait(call_s: float) -> None:
    model = Held()
    with running(Setting(model=model, call_s=call_s)) as replica, ThreadPoolExecutor(QUEUED_MAX + 1) as pool:
        try:
            first = pool.submit(ask, replica, body())
            assert model.begun.wait(60)
            others = [pool.submit(ask, replica, body()) for _ in range(QUEUED_MAX)]
            queue = replica.parts.plane.explanations
            wait_until(lambda: queue.waiting == QUEUED_MAX)
            status, headers, raw = ask(replica, body())
            assert (status, headers["retry-after"]) == (429, b"1")
            assert b"8 explanations wait already" in raw
            assert ask(replica, body(), path="/v2/models/digits/infer")[0] == 200
            health = f"GET /-/healthz/{replica.parts.plane.identity.name} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
            assert replica.send(health).startswith(b"HTTP/1.1 200 ")
            assert replica.parts.plane.pending == 0, "explanations are no load of predictions"
        finally:
            model.gate.set()
        assert {each.result()[0] for each in (first, *others)} == {200}
        assert len(model.threads) == 2, "predictions are computed elsewhere"
        assert outcomes(replica) == {"answered": QUEUED_MAX + 1, "full": 1}
        assert replica.parts.metrics.predictions.answered == 1
        assert replica.parts.metrics.latency.count == 1, "only the prediction's duration is one of predictions"
        text = replica.parts.metrics.text().decode()
        assert "fairlead_replica_explanation_duration_seconds_count{" in text
        assert replica.parts.metrics.explanations.duration.count == QUEUED_MAX + 1


def test_an_explanation_has_a_deadline_and_ends_there() -> None:
    model = Held()
    with running(Setting(model=model, timeout_s=0.2)) as replica:
        try:
            status, _, raw = ask(replica, body())
            assert status == 504
            assert b"no explanation within 0.2 s" in raw
        finally:
            model.gate.set()
        assert outcomes(replica) == {"expired": 1}


def test_nothing_is_computed_for_a_client_that_has_gone() -> None:
    model = Held()
    with running(Setting(model=model)) as replica:
        try:
            with replica.connect() as client:
                client.sendall(post(PATH, body()))
                assert model.begun.wait(60)
            wait_until(lambda: outcomes(replica) == {"abandoned": 1})
        finally:
            model.gate.set()
        assert ask(replica, body())[0] == 200, "the thread goes on with the next one"


def test_a_model_that_fails_is_counted_and_the_next_explanation_is_answered() -> None:
    class Moody(DoublingModel):
        def __call__(self, inputs: Tensors) -> Tensors:
            if inputs[0][0, 0] == 13:
                raise ModelFailedError("no memory")
            if inputs[0][0, 0] == 14:
                raise RuntimeError("a defect")
            return super().__call__(inputs)

    with running(Setting(model=Moody())) as replica:
        status, _, raw = ask(replica, body([[13.0, 0, 0, 0]]))
        assert (status, b"ModelFailedError" in raw) == (500, True)
        status, _, raw = ask(replica, body([[14.0, 0, 0, 0]]))
        assert (status, b"the explanation failed" in raw) == (500, True)
        assert ask(replica, body())[0] == 200
        assert outcomes(replica) == {"answered": 1, "failed": 2}


def test_no_explanation_begins_while_the_replica_drains() -> None:
    with running() as replica:
        replica.parts.plane.phase = Phase.DRAINING
        status, headers, raw = ask(replica, body())
        assert (status, headers["retry-after"]) == (503, b"1")
        assert b"the replica is stopping" in raw
        assert ask(replica, body(), path="/v2/models/digits/infer")[0] == 200


def test_what_waits_or_runs_is_answered_when_the_replica_stops() -> None:
    model = Held()
    with running(Setting(model=model)) as replica, replica.connect() as first, replica.connect() as second:
        first.sendall(post(PATH, body()))
        assert model.begun.wait(60)
        second.sendall(post(PATH, body()))
        wait_until(lambda: replica.parts.plane.explanations.waiting == 1)
        replica.server.run(replica.parts.plane.explanations.close)
        try:
            assert read_answers(second, 1).startswith(b"HTTP/1.1 503 ")
            assert read_answers(first, 1).startswith(b"HTTP/1.1 503 ")
        finally:
            model.gate.set()
