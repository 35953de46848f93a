"""A replica with guards, over its sockets and its protocols: what is rejected, counted, passed and left alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from tests.support import guard_parts, replica_parts
from tests.support.replica_parts import MODEL, ROW, DoublingModel, Running, Setting
from tests.support.until import until

from fairlead_runtime import sketches
from fairlead_runtime.config import GuardMode
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import tops
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.protocols.grpc import v2_messages
from fairlead_runtime.protocols.inferring import INLINE_VALUES
from fairlead_runtime.server.limits import ServerLimits

INFER = f"/v2/models/{MODEL}/infer"
PREDICT = f"/v1/models/{MODEL}:predict"
RPC = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelInfer"
REJECT, OBSERVE = GuardMode.REJECT, GuardMode.OBSERVE
TRAINING = np.random.default_rng(2).uniform(0, 1, (1200, ROW)).astype(np.float32)
GOOD, FAR = [0.5, 0.2, 0.7, 0.1], [0.5, 9.0, 0.7, 0.1]
ON_THREAD = 0.01
"""A call that is said to take so long runs on the thread, where requests share calls."""


def guards(**modes: GuardMode) -> Guards:
    """Guards by the names of `Guard`; the answers are said to be finite."""
    return guard_parts.build(
        {Guard[name.upper()]: mode for name, mode in modes.items()},
        training=[TRAINING],
        kinds=AnswerKinds(finite=frozenset({0})),
    )


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def v2(rows: Any) -> bytes:
    array = np.asarray(rows, np.float32)
    data = [None if np.isnan(value) else value for value in array.reshape(-1).tolist()]
    tensor = {"name": "x", "shape": list(array.shape), "datatype": "FP32", "data": data}
    return post(INFER, orjson.dumps({"inputs": [tensor]}))


def v1(rows: Any) -> bytes:
    return post(PREDICT, orjson.dumps({"instances": rows}))


def grpc(rows: Any) -> bytes:
    array = np.asarray(rows, np.float32)
    request = v2_messages.MESSAGES["ModelInferRequest"](model_name=MODEL)
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    message = request.SerializeToString()
    return post(RPC, b"\0" + len(message).to_bytes(4, "big") + message)


def raw_v2(rows: Any) -> bytes:
    """Numbers that are not JSON, which cost nothing to decode."""
    raw = np.asarray(rows, np.float32).tobytes()
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = orjson.dumps({"inputs": [tensor]})
    length = f"inference-header-content-length: {len(head)}\r\n\r\n".encode()
    return post(INFER, head + raw).replace(b"\r\n\r\n", b"\r\n" + length, 1)


def answer(raw: bytes) -> tuple[int, str]:
    """The status of an answer, and the sentence of a refusal."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    return status, orjson.loads(body)["error"] if status >= 400 else ""


def counted(replica: Running) -> dict[tuple[str, str], int]:
    text = replica.parts.metrics.text().decode()
    lines = re.findall(r"^fairlead_replica_guarded_rows_total{(.*)} (.*)$", text, re.MULTILINE)
    labels = [(dict(re.findall(r'(\w+)="([^"]*)"', names)), float(value)) for names, value in lines]
    return {(each["guard"], each["outcome"]): int(value) for each, value in labels}


@pytest.mark.parametrize("ask", [v2, v1, grpc])
@pytest.mark.parametrize("call_s", [0.0, ON_THREAD])
def test_a_row_out_of_range_is_answered_with_422_and_never_reaches_the_model(
    ask: Callable[[Any], bytes], call_s: float
) -> None:
    model = DoublingModel()
    with replica_parts.running(Setting(model=model, call_s=call_s, guards=guards(range=REJECT))) as replica:
        status, sentence = answer(replica.send(ask([GOOD, FAR])))
        assert status == 422
        assert re.fullmatch(
            r"input 'x': row 1: its element 1 is 9, outside -0\.\d+ to 1\.\d+, the range of the training data with a "
            r"margin \(guard Range\)",
            sentence,
        )
        assert model.rows == []
        assert answer(replica.send(ask([GOOD]))) == (200, "")
        assert counted(replica) == {("Range", "passed"): 2, ("Range", "observed"): 0, ("Range", "rejected"): 1}
        assert replica.parts.metrics.predictions.refused == 1


@pytest.mark.parametrize("ask", [v2, v1, grpc])
def test_an_observed_row_is_counted_and_answered(ask: Callable[[Any], bytes]) -> None:
    with replica_parts.running(Setting(guards=guards(range=OBSERVE, outlier=OBSERVE))) as replica:
        assert answer(replica.send(ask([FAR]))) == (200, "")
        found = counted(replica)
        assert (found["Range", "observed"], found["Outlier", "observed"]) == (1, 1)
        assert (found["Range", "rejected"], found["Outlier", "rejected"]) == (0, 0)


@pytest.mark.parametrize("ask", [v2, grpc])
def test_missing_numbers_are_rejected_where_the_training_data_has_none(ask: Callable[[Any], bytes]) -> None:
    with replica_parts.running(Setting(guards=guards(not_finite=REJECT))) as replica:
        status, sentence = answer(replica.send(ask([GOOD, [0.5, np.nan, 0.7, 0.1]])))
        assert (status, sentence) == (422, "input 'x': row 1 has a number that is not finite (guard NotFinite)")


def test_what_the_protocol_refuses_is_no_finding() -> None:
    with replica_parts.running(Setting(guards=guards(range=REJECT, not_finite=REJECT))) as replica:
        for rows in ([], [[]], [["a text"] * ROW], [[1, 2]], [[[1]]]):
            assert answer(replica.send(v1(rows)))[0] == 400
        assert set(counted(replica).values()) == {0}


def test_a_large_request_of_raw_numbers_is_judged_away_from_the_loop() -> None:
    judged: list[str] = []
    made = guards(range=REJECT)
    judge = made.judge_inputs

    def watched(inputs: Tensors) -> Any:
        judged.append(threading.current_thread().name)
        return judge(inputs)

    made.judge_inputs = watched  # type: ignore[method-assign]
    rows = np.full((INLINE_VALUES // ROW + 1, ROW), 0.5, np.float32)
    with replica_parts.running(Setting(guards=made, limits=ServerLimits(body_bytes_max=2**20))) as replica:
        assert answer(replica.send(grpc(rows))) == (200, "")
        rows[-1, 2] = 7
        status, sentence = answer(replica.send(grpc(rows)))
        assert (status, f"row {len(rows) - 1}: its element 2 is 7" in sentence) == (422, True)
        assert answer(replica.send(grpc(rows[:1]))) == (200, "")
        assert [name.startswith("fairlead-codec") for name in judged] == [True, True, False]
        assert counted(replica)["Range", "passed"] == 2 * len(rows)
        assert replica.parts.plane.pending == 0


def test_a_large_request_goes_to_no_thread_where_no_guard_looks_at_inputs() -> None:
    judged: list[str] = []
    made = guards(impossible_answer=REJECT)
    judge = made.judge_inputs

    def watched(inputs: Tensors) -> Any:
        judged.append(threading.current_thread().name)
        return judge(inputs)

    made.judge_inputs = watched  # type: ignore[method-assign]
    rows = np.full((INLINE_VALUES // ROW + 1, ROW), 0.5, np.float32)
    with replica_parts.running(Setting(guards=made, limits=ServerLimits(body_bytes_max=2**20))) as replica:
        assert answer(replica.send(raw_v2(rows))) == (200, "")
        assert counted(replica)["ImpossibleAnswer", "passed"] == len(rows)
    assert [name for name in judged if name.startswith("fairlead-codec")] == []


def test_rejected_rows_of_one_client_fail_none_of_another_in_the_same_call() -> None:
    """The call's rows are those of three clients; the answer to the second has a number that isn't finite."""
    model = Overflowing(gate=threading.Event())
    made = guards(range=REJECT, impossible_answer=REJECT)
    with replica_parts.running(Setting(model=model, call_s=ON_THREAD, guards=made)) as replica:
        with replica.connect() as first:
            first.sendall(v2([GOOD]))
            assert model.begun.wait(100)
            # The next ones wait for the call that runs, and share the one after it.
            clients = [replica.connect() for _ in range(4)]
            for client, rows in zip(clients, ([GOOD], [OVERFLOWING], [FAR], [GOOD, GOOD]), strict=True):
                client.sendall(v2(rows))
            until(lambda: replica.parts.plane.pending == 4, "three requests wait behind the first")
            model.gate_open()
            answers = [replica_parts.read_answers(client, 1) for client in (first, *clients)]
            for client in clients:
                client.close()
        assert model.rows == [1, 4], "the clients shared a call, without the rejected input"
        assert [answer(each)[0] for each in answers] == [200, 200, 422, 422, 200]
        assert answer(answers[2])[1] == "the answer's output 'y': row 0 has a number that is not finite " + (
            "(guard ImpossibleAnswer)"
        )
        data = orjson.loads(answers[4].partition(b"\r\n\r\n")[2])["outputs"][0]["data"]
        assert data == pytest.approx([2 * value for value in GOOD * 2])
        found = counted(replica)
        assert (found["ImpossibleAnswer", "passed"], found["ImpossibleAnswer", "rejected"]) == (4, 1)
        assert (found["Range", "passed"], found["Range", "rejected"]) == (5, 1)


OVERFLOWING = [0.25, 0.25, 0.25, 0.25]


class Overflowing(DoublingModel):
    """Gives an infinity for one kind of row."""

    def __call__(self, inputs: Tensors) -> Tensors:
        (doubled,) = super().__call__(inputs)
        doubled[(inputs[0] == OVERFLOWING).all(axis=1)] = np.inf
        return (doubled,)

    def gate_open(self) -> None:
        assert self.gate is not None
        self.gate.set()


def test_a_large_answer_that_can_not_be_is_rejected_as_well() -> None:
    rows = [[*GOOD[:3], 0.25]] * (INLINE_VALUES // ROW) + [OVERFLOWING]
    limits = ServerLimits(body_bytes_max=2**20)
    with replica_parts.running(
        Setting(model=Overflowing(), guards=guards(impossible_answer=REJECT), limits=limits)
    ) as replica:
        status, sentence = answer(replica.send(grpc(rows)))
        assert (status, f"row {len(rows) - 1} has a number" in sentence) == (422, True)
        assert counted(replica)["ImpossibleAnswer", "passed"] == len(rows) - 1


@pytest.mark.parametrize("count", [1, INLINE_VALUES // ROW + 1], ids=["small", "large"])
@pytest.mark.parametrize("call_s", [0.0, ON_THREAD])
def test_a_rejected_answer_counts_neither_as_drift_nor_as_a_score(count: int, call_s: float) -> None:
    sketch = sketches.of_numbers("input0_0", [0.3])
    setting = Setting(
        signature=replica_parts.float_signature(),
        model=Overflowing(),
        call_s=call_s,
        guards=guards(impossible_answer=REJECT),
        limits=ServerLimits(body_bytes_max=2**20),
        sketches=[sketch],
    )
    with replica_parts.running(setting) as replica:
        assert answer(replica.send(grpc([OVERFLOWING] * count)))[0] == 422
        assert (sum(sketch.counts), sum(replica.parts.metrics.measured.scores)) == (0, 0)
        assert answer(replica.send(grpc([GOOD] * count)))[0] == 200
        assert sketch.counts == [0, 1, 0]
        assert sum(replica.parts.metrics.measured.scores) == min(count, tops.ROWS_MAX)


def test_the_operators_proof_is_not_judged() -> None:
    """The example is often made up of zeros, which say nothing about clients."""
    far = np.full(TRAINING.shape, 50, np.float32) + TRAINING
    made = guard_parts.build({Guard.RANGE: REJECT}, training=[far])
    with replica_parts.running(Setting(guards=made)) as replica:
        assert answer(replica.send(v2([[0] * ROW])))[0] == 422
        raw = replica.send(post(f"/v2/models/{MODEL}/proof", b""))
        assert orjson.loads(raw.partition(b"\r\n\r\n")[2])["outcome"] == "Proved"


def test_a_replica_without_guards_has_none() -> None:
    with replica_parts.running() as replica:
        assert answer(replica.send(v2([FAR]))) == (200, "")
        assert replica.parts.plane.guards is None
        assert counted(replica) == {}
