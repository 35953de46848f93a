"""Whatever a client sends: no 5xx, one answer for each request, and never much work on the server's loop.

Work is measured in processor time of the loop's thread, in units of a decoding that is known to be small and that runs
right before it; so a busy machine slows the request and the unit alike. The least of several tries counts. The garbage
collector doesn't run meanwhile: it would look through all that the test process holds, which takes a thousand units.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import statistics
import time
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import nightly
from tests.support.replica_parts import (
    MODEL,
    Parts,
    Running,
    Setting,
    assemble,
    float_signature,
    read_all,
    request,
    running,
)

from fairlead_runtime.inference import codec
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols import inferring
from fairlead_runtime.protocols.http import Response
from fairlead_runtime.server.limits import ServerLimits

INFER = f"/v2/models/{MODEL}/infer"
EXPLAIN = f"/v2/models/{MODEL}/explain"
PREDICT = f"/v1/models/{MODEL}:predict"
LENGTH = b"inference-header-content-length"
BODY_BYTES_MAX = 256 * 1024
UNITS_MAX = 60
TRIES = 5


def signature(*specs: TensorSpec) -> Signature:
    return Signature(name="serving_default", method="", inputs=specs, outputs=specs)


def tensor(name: str, dtype: DType, shape: tuple[int | None, ...] | None) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


SIGNATURES = {
    "floats": float_signature(),
    "free": signature(tensor("x", DType.FLOAT32, (None, None))),
    "unknown rank": signature(tensor("x", DType.INT64, None)),
    "two": signature(tensor("x", DType.BOOL, (None,)), tensor("t", DType.STRING, (None,))),
}

counts = st.sampled_from([0, 1, 2, 3, 31, 32, 33, 64, 600, 4000, 30_000])
numbers = st.one_of(
    st.integers(-3, 3), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([1e308, 1e400, 2**63, 2**64 - 1])
)
scalars = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=8), st.just({"b64": "AA=="}))


def nested(depth: int, value: object) -> object:
    for _ in range(depth):
        value = [value]
    return value


WEIGHT_MAX = 40_000


def weight(value: object) -> int:
    """About how many values JSON writes for this one."""
    match value:
        case list():
            return 1 + len(value) * max(map(weight, value[:4]), default=0)
        case dict():
            return 1 + sum(weight(inner) for inner in value.values())
        case str():
            return 1 + len(value) // 8
        case _:
            return 1


def repeated(value: object, count: int) -> object:
    """So often that the whole stays small enough to be written again and again."""
    return [value] * min(count, WEIGHT_MAX // weight(value))


values = st.recursive(
    st.one_of(
        scalars,
        st.builds(nested, st.integers(0, 80), scalars),
        st.builds(repeated, scalars, counts),
        st.builds(repeated, st.builds(repeated, scalars, st.integers(0, 4)), counts),
        st.builds(lambda count: "x" * count, counts),
        st.builds(lambda count: {str(i): i for i in range(count)}, counts),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["x", "t", "b64", "y"]), inner, max_size=3)
    ),
    max_leaves=5,
)
shapes = st.one_of(
    st.lists(st.integers(0, 4), max_size=4),
    st.builds(repeated, st.sampled_from([0, 1, 2, 2**31 - 1, 2**31, -1]), counts),
    values,
)
tensors = st.fixed_dictionaries(
    {"name": st.one_of(st.sampled_from(["x", "t"]), values)},
    optional={
        "datatype": st.one_of(st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]), values),
        "shape": shapes,
        "data": values,
        "parameters": st.one_of(st.builds(lambda n: {"binary_data_size": n}, st.integers(-1, 40)), values),
    },
)
v2_bodies = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(tensors, max_size=3), st.builds(repeated, tensors, counts), values)},
    optional={
        "outputs": st.one_of(st.builds(repeated, st.just({"name": "x"}), counts), values),
        "id": values,
        "parameters": values,
    },
)
v1_bodies = st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name", "examples", "context"]), values, max_size=2
)


def dumped(value: object) -> bytes:
    """As a client may write it: NaN, Infinity and numbers of any length included.

    Values share their parts, so a small example can be gigabytes of text: the text ends at BODY_BYTES_MAX.
    """
    parts: list[str] = []
    size = 0
    for part in json.JSONEncoder().iterencode(value):
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            break
    return "".join(parts).encode()


plain = st.one_of(
    st.tuples(st.sampled_from([INFER, EXPLAIN]), v2_bodies.map(dumped), st.just(b"")),
    st.tuples(st.just(PREDICT), v1_bodies.map(dumped), st.just(b"")),
    st.tuples(
        st.sampled_from([f"/v1/models/{MODEL}:classify", f"/v1/models/{MODEL}:regress"]),
        v1_bodies.map(dumped),
        st.just(b""),
    ),
    st.tuples(st.sampled_from([INFER, f"/v2/models/{MODEL}/feedback"]), v1_bodies.map(dumped), st.just(b"")),
    st.tuples(st.sampled_from([INFER, PREDICT]), st.binary(max_size=60), st.just(b"")),
    st.tuples(st.just(INFER), v2_bodies.map(dumped), st.binary(min_size=1, max_size=60)),
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def replicas(loop: asyncio.AbstractEventLoop) -> Iterator[dict[str, Parts]]:
    made = {
        name: assemble(loop, Setting(signature=each, model=lambda inputs: inputs)) for name, each in SIGNATURES.items()
    }
    yield made
    for parts in made.values():
        parts.plane.close()


UNIT_SPEC = tensor("x", DType.FLOAT32, (None, 4))
UNIT_BODY = orjson.dumps([[0.25] * 4] * (inferring.INLINE_BYTES // 22))
"""As much as is decoded on the loop at once."""


def measure_unit_s() -> float:
    """Processor time of decoding a unit."""

    def once() -> float:
        started_s = time.thread_time()
        codec.from_json(UNIT_SPEC, orjson.loads(UNIT_BODY), may_hold_booleans=False)
        return time.thread_time() - started_s

    return statistics.median(once() for _ in range(5))


@contextlib.contextmanager
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@given(name=st.sampled_from(list(SIGNATURES)), asked=plain)
@settings(max_examples=nightly.examples(120), suppress_health_check=list(HealthCheck))
def test_no_body_crashes_the_replica_or_blocks_its_loop(
    loop: asyncio.AbstractEventLoop,
    replicas: dict[str, Parts],
    name: str,
    asked: tuple[str, bytes, bytes],
) -> None:
    path, head, blob = asked
    headers = {LENGTH: str(len(head)).encode()} if blob else {}
    made = request("POST", path, head + blob, headers)

    async def once() -> tuple[Response, float]:
        with no_garbage_collector():
            unit_s = measure_unit_s()
            started_s = time.thread_time()
            answer = replicas[name].handler.handle(made)
            spent_s = time.thread_time() - started_s
        return (answer if isinstance(answer, Response) else await answer), spent_s / unit_s

    response, units = loop.run_until_complete(once())
    assert response.status < 500, response.body
    assert isinstance(orjson.loads(response.body), dict)
    tried = [units]
    while min(tried) >= UNITS_MAX and len(tried) <= TRIES:
        tried.append(loop.run_until_complete(once())[1])
    assert min(tried) < UNITS_MAX, tried


@pytest.fixture(scope="module")
def listening() -> Iterator[Running]:
    with running(Setting(limits=ServerLimits(body_bytes_max=256 * 1024))) as started:
        yield started


GOOD = orjson.dumps({"instances": [[1, 2, 3, 4]]})
bodies = st.one_of(
    st.just(GOOD), st.binary(max_size=40), st.integers(1, 100_000).map(lambda count: GOOD + b" " * count)
)
fields = st.sampled_from(
    [
        b"",
        b"connection: keep-alive\r\n",
        b"x: " + b"y" * 9000 + b"\r\n",
        b"trailer: x-request-id\r\n",
        b"expect: 100-continue\r\n",
        b"upgrade: websocket\r\nconnection: upgrade\r\n",
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        b"x-fairlead-shadow-copy: no\r\n",
    ]
)
targets = st.sampled_from([PREDICT.encode(), INFER.encode(), b"/v2", b"/nothing", b"/%00", b"/v2/models/%ff/infer?a=b"])
methods = st.sampled_from([b"POST", b"GET", b"HEAD", b"PUT", b"OPTIONS", b"DELETE"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Whole requests in one stream, and the pieces in which it arrives."""
    count = draw(st.integers(1, 6))
    stream = b"".join(draw(framed(b"r%d" % i, is_last=i == count - 1)) for i in range(count))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [b"r%d" % i for i in range(count)], pieces


@st.composite
def framed(draw: st.DrawFn, request_id: bytes, *, is_last: bool) -> bytes:
    body = draw(bodies)
    head = draw(methods) + b" " + draw(targets) + b" HTTP/1.1\r\nhost: x\r\nx-request-id: " + request_id + b"\r\n"
    head += (b"connection: close\r\n" if is_last else b"") + draw(fields)
    if draw(st.booleans()):
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    size = draw(st.sampled_from([1, 7, 5000, 10**6]))
    parts = (body[at : at + size] for at in range(0, len(body), size)) if len(body) < 50_000 else [body]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    trailer = draw(st.sampled_from([b"", b"x-request-id: forged\r\n", b"host: z\r\ncontent-type: text/evil\r\n"]))
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


@given(stream=streams())
@settings(max_examples=nightly.examples(150), suppress_health_check=list(HealthCheck))
def test_each_request_on_a_connection_gets_one_answer_in_order(
    listening: Running, stream: tuple[list[bytes], list[bytes]]
) -> None:
    sent, pieces = stream
    with listening.connect() as client:
        for piece in pieces:
            client.sendall(piece)
        raw = read_all(client)
    answers = [part for part in raw.split(b"HTTP/1.1 ")[1:] if not part.startswith(b"100 ")]
    assert [part.split(b"x-request-id: ")[1].split(b"\r\n")[0] for part in answers] == sent
    assert all(b"200" <= part[:3] < b"500" for part in answers), raw
    assert listening.parts.plane.pending == 0
