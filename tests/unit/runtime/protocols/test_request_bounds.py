"""What one request may cost: ranks, values, names, outputs and pipelines are bounded before anything is computed."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import cast

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.replica_parts import MODEL, Parts, Setting, answer_of, assemble, assemble_inline, request

from fairlead_runtime.errors import SENTENCE_CHARS_MAX
from fairlead_runtime.inference import codec
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols import inferring
from fairlead_runtime.protocols.http import LISTS_MAX, VALUES_MAX, Response
from fairlead_runtime.server import connection
from fairlead_runtime.server.limits import ServerLimits

INFER = f"/v2/models/{MODEL}/infer"
PREDICT = f"/v1/models/{MODEL}:predict"
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
FREE = TensorSpec(name="x", dtype=DType.FLOAT32, shape=None)


@pytest.fixture
def parts() -> Parts:
    return assemble_inline()


def unknown_rank() -> Parts:
    return assemble_inline(Setting(signature=Signature(name="s", method="", inputs=(FREE,), outputs=(FREE,))))


def error_of(response: Response) -> str:
    return str(orjson.loads(response.body)["error"])


@pytest.mark.parametrize("size", [1, 2**31 - 1])
@pytest.mark.parametrize("dimensions", [33, 600, 1400])
@pytest.mark.parametrize("make", [assemble_inline, unknown_rank], ids=["rank 2", "rank unknown"])
def test_a_shape_of_many_dimensions_is_refused_in_json_and_binary(make: type, dimensions: int, size: int) -> None:
    handler = make().handler
    tensor = {"name": "x", "datatype": "FP32", "shape": [size] * dimensions}
    plain = answer_of(handler, request("POST", INFER, {"inputs": [{**tensor, "data": [1]}]}))
    head = orjson.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 4}}]})
    raw = request("POST", INFER, head + bytes(4), {b"inference-header-content-length": str(len(head)).encode()})
    for response in (plain, answer_of(handler, raw)):
        assert response.status == 400
        assert f"has {dimensions} dimensions; at most 32" in error_of(response)


def test_a_tensor_of_the_highest_allowed_rank_is_accepted_and_a_higher_one_refused() -> None:
    value: object = 1.5
    for _ in range(codec.RANK_MAX):
        value = [value]
    handler = unknown_rank().handler
    assert answer_of(handler, request("POST", PREDICT, {"inputs": value})).status == 200
    response = answer_of(handler, request("POST", PREDICT, {"inputs": [value]}))
    assert response.status == 400
    assert "at most 32 levels" in error_of(response)


def test_one_long_string_in_an_array_does_not_multiply_its_memory(parts: Parts) -> None:
    asked = request("POST", PREDICT, {"inputs": [["x" * 4000, *[1] * 2000]]})
    answer_of(parts.handler, asked)
    tracemalloc.start()
    try:
        response = answer_of(parts.handler, asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status == 400
    assert peak < 50 * len(asked.body)


def test_an_output_requested_twice_is_refused(parts: Parts) -> None:
    for count in (2, 500):
        body = {"inputs": [TENSOR], "outputs": [{"name": "y"}] * count}
        response = answer_of(parts.handler, request("POST", INFER, body))
        assert response.status == 400
        assert "twice" in error_of(response)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(PREDICT, {"signature_name": [1.5] * 1000, "instances": [[1] * 4]}, id="signature"),
        pytest.param(INFER, {"inputs": [{**TENSOR, "name": [1.5] * 1000}]}, id="input name"),
        pytest.param(INFER, {"inputs": [{**TENSOR, "name": "n" * 9000}]}, id="long input name"),
        pytest.param(INFER, {"inputs": [{**TENSOR, "datatype": {"a" * 9000: 1}}]}, id="datatype"),
        pytest.param(INFER, {"inputs": [TENSOR], "outputs": [{"name": [1.5] * 1000}]}, id="output name"),
    ],
)
def test_error_messages_are_short_and_do_not_repeat_the_sent_value(parts: Parts, path: str, body: object) -> None:
    response = answer_of(parts.handler, request("POST", path, body))
    assert response.status == 400
    sentence = error_of(response)
    assert len(sentence) < SENTENCE_CHARS_MAX
    assert "1.5" not in sentence
    assert "n" * 65 not in sentence
    assert "a" * 65 not in sentence


async def answered(parts: Parts, path: str, body: bytes) -> Response:
    answer = parts.handler.handle(request("POST", path, body))
    assert isinstance(answer, asyncio.Future), "it was decoded on the loop"
    return await answer


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize(
    ("filler", "most"),
    [
        pytest.param(b"1,", VALUES_MAX, id="numbers"),
        pytest.param(b"[],", LISTS_MAX, id="lists"),
        pytest.param(b"{},", LISTS_MAX, id="objects"),
    ],
)
async def test_a_body_with_too_many_values_gets_413(path: str, filler: bytes, most: int) -> None:
    parts = assemble(asyncio.get_running_loop(), Setting())
    response = await answered(parts, path, b'{"inputs":[' + filler * (most + 1) + b"1]}")
    assert response.status == 413
    assert "binary data" in error_of(response)
    parts.plane.close()


async def test_large_bodies_are_decoded_off_the_loop_with_the_same_answer() -> None:
    parts = assemble(asyncio.get_running_loop(), Setting())
    rows = np.arange(8000, dtype=np.float32).reshape(-1, 4)
    response = await answered(parts, PREDICT, orjson.dumps({"instances": rows.tolist()}))
    assert orjson.loads(response.body) == {"predictions": (rows * 2).tolist()}
    assert b"x-fairlead-feedback" in dict(response.headers)
    refused = await answered(parts, PREDICT, orjson.dumps({"instances": [*rows.tolist(), [1]]}))
    assert refused.status == 400
    assert parts.plane.pending == 0
    parts.plane.close()


async def test_large_decodings_count_against_the_queue() -> None:
    parts = assemble(asyncio.get_running_loop(), Setting(ongoing_max=1, queued_max=1))
    body = orjson.dumps({"instances": [[1, 2, 3, 4]] * 5000})
    answers = [asyncio.ensure_future(answered(parts, PREDICT, body)) for _ in range(3)]
    assert sorted([(await answer).status for answer in answers]) == [200, 200, 503]
    parts.plane.close()


async def test_a_large_answer_is_encoded_off_the_loop() -> None:
    wide = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, None))
    narrow = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 4))
    signature = Signature(name="s", method="", inputs=(narrow,), outputs=(wide,))
    values = np.random.default_rng(1).random((2, inferring.INLINE_VALUES), np.float32)
    parts = assemble(asyncio.get_running_loop(), Setting(signature=signature, model=lambda _: (values,)))
    response = await answered(parts, PREDICT, b'{"instances":[[1,2,3,4]]}')
    np.testing.assert_array_equal(np.array(orjson.loads(response.body)["predictions"], np.float32), values)
    flat = await answered(parts, INFER, orjson.dumps({"inputs": [TENSOR]}))
    assert len(orjson.loads(flat.body)["outputs"][0]["data"]) == values.size
    parts.plane.close()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.sampled_from([np.float32, np.int64, np.float16]))
def test_a_tensor_encoded_in_pieces_gives_the_same_json(shape: list[int], kind: type) -> None:
    array = (np.arange(np.prod(shape)) % 1000).reshape(shape).astype(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "PIECE_VALUES", 20)
        pieces = orjson.dumps(codec.to_json(array), option=orjson.OPT_SERIALIZE_NUMPY)
    assert orjson.loads(pieces) == array.tolist()


class StubTransport:
    """What a connection writes, and whether it reads."""

    def __init__(self) -> None:
        self.written = b""
        self.is_reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, _name: str) -> object:
        return ("127.0.0.1", 1)


async def test_thousands_of_requests_in_one_read_are_answered_in_several_turns() -> None:
    parts = assemble(asyncio.get_running_loop(), Setting(limits=ServerLimits(body_bytes_max=1024, pipelined_max=32)))
    client = connection.Connection(parts.shared)
    transport = StubTransport()
    client.connection_made(cast(asyncio.Transport, transport))
    one = b"GET /v2 HTTP/1.1\r\nhost:\r\nx-request-id: %06d\r\n\r\n"
    count = 5000
    client.data_received(b"".join(one % i for i in range(count)))

    most = connection.ANSWERS_PER_TURN
    assert transport.written.count(b"HTTP/1.1 200 ") == most
    assert parts.shared.in_flight < 32 + connection.PIECE_BYTES // len(one)
    assert not transport.is_reading
    before, turns = most, 0
    while before < count:
        await asyncio.sleep(0)
        now = transport.written.count(b"HTTP/1.1 200 ")
        assert now - before <= most
        before, turns = now, turns + 1
        assert turns < count
    ids = [part[:6] for part in transport.written.split(b"x-request-id: ")[1:]]
    assert ids == [b"%06d" % i for i in range(count)]
    assert transport.is_reading
    assert parts.shared.in_flight == 0
    parts.plane.close()
