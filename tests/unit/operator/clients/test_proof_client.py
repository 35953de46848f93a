"""What the operator makes of a replica's report, which a tenant's code wrote."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.support.http_thread import HttpThread

from fairlead_operator.api.evaluation_status import Evaluation
from fairlead_operator.api.evaluation_status import EvaluationOutcome as Outcome
from fairlead_operator.api.optimization import Variant, VariantReason
from fairlead_operator.clients import clock, errors, gateway, http
from fairlead_operator.state.signature import Tensor

REVISION = "3f0c9a1b2d"
DIGEST = "sha256:" + "ab" * 32
REPORT: dict[str, Any] = {
    "schema": 1,
    "revision": REVISION,
    "digest": DIGEST,
    "outcome": "Proved",
    "message": "",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1024, 1024, 3]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
OURS = {"x-fairlead-revision": REVISION}


@pytest.fixture
async def client() -> AsyncIterator[gateway.GatewayClient]:
    made = http.HttpClient(clock=clock.SystemClock())
    yield gateway.GatewayClient(http_client=made, on_request=lambda *_: None)
    await made.close()


@asynccontextmanager
async def data_port(answer: Any) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A gateway's data port; keeps the bodies that it was sent."""
    bodies: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return await answer(request)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_post("/v2/models/digits/proof", handle)
        made.router.add_get("/v2/models/digits", handle)
        return made

    server = HttpThread(application)
    server.start()
    try:
        yield server.url, bodies
    finally:
        # In a thread, so that the client's loop closes its side meanwhile.
        await asyncio.to_thread(server.stop)


def answering(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Any:
    async def answer(_: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=OURS if headers is None else headers)

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers=OURS)
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def test_a_proof_sends_no_tensor_whatever_the_size_of_the_input(client: gateway.GatewayClient) -> None:
    async with data_port(answering(REPORT)) as (url, bodies):
        report = await client.prove(url, "digits", REVISION, timeout_s=10)
    assert bodies == [b""]
    assert (report.outcome, report.digest) == (gateway.ProofOutcome.PROVED, DIGEST)
    assert report.signature.inputs == {"x": Tensor(datatype="FP32", shape=(-1, 1024, 1024, 3))}


@pytest.mark.parametrize(
    ("added", "found"), [({"sharesCalls": False}, False), ({"sharesCalls": True}, True), ({}, None)]
)
async def test_what_a_replica_says_of_shared_calls_is_read(
    client: gateway.GatewayClient, added: dict[str, bool], found: bool | None
) -> None:
    async with data_port(answering({**REPORT, **added})) as (url, _):
        assert (await client.prove(url, "digits", REVISION, timeout_s=10)).shares_calls is found


VARIANT = {"name": "StaticInt8", "reason": "Best", "message": "faster\nand smaller", "new": 1}


async def test_the_variant_that_a_replica_reports_is_read(client: gateway.GatewayClient) -> None:
    expected = Variant(name="StaticInt8", reason=VariantReason.BEST, message="faster and smaller")
    for reported, found in ((VARIANT, expected), (None, None)):
        async with data_port(answering({**REPORT, "variant": reported})) as (url, _):
            assert (await client.prove(url, "digits", REVISION, timeout_s=10)).variant == found


async def test_a_sentence_on_all_variants_is_read_up_to_what_the_status_holds(client: gateway.GatewayClient) -> None:
    for reported, found in (("x" * 1024, "x" * 1024), ("x" * 1025, "x" * 1021 + "…")):
        async with data_port(answering({**REPORT, "variant": {**VARIANT, "message": reported}})) as (url, _):
            variant = (await client.prove(url, "digits", REVISION, timeout_s=10)).variant
        assert variant is not None
        assert variant.message == found


@pytest.mark.parametrize("wrong", [{"name": "a b"}, {"name": "a" * 41}, {"reason": "Splendid"}, {"name": None}])
async def test_a_variant_that_cannot_be_right_is_no_valid_report(
    client: gateway.GatewayClient, wrong: dict[str, Any]
) -> None:
    async with data_port(answering({**REPORT, "variant": {**VARIANT, **wrong}})) as (url, _):
        with pytest.raises(errors.Refused, match="is not valid: variant"):
            await client.prove(url, "digits", REVISION, timeout_s=10)


READ = {"outcome": "Read", "metric": "Accuracy", "value": 0.9, "low": 0.6, "high": 0.98, "samples": 10, "new": 1}


@pytest.mark.parametrize(
    ("reported", "found"),
    [
        pytest.param(None, None, id="a replica of an earlier version"),
        pytest.param(
            {**READ, "message": ""},
            Evaluation(outcome=Outcome.READ, metric="Accuracy", value=0.9, low=0.6, high=0.98, samples=10),
            id="a record",
        ),
        pytest.param(
            {**READ, "outcome": "OtherModel", "message": "of\nanother"},
            Evaluation(outcome=Outcome.OTHER_MODEL, message="of another"),
            id="figures of another model do not count",
        ),
    ],
)
async def test_the_evaluation_that_a_replica_reports_is_read(
    client: gateway.GatewayClient, reported: dict[str, Any] | None, found: Evaluation | None
) -> None:
    async with data_port(answering({**REPORT, "evaluation": reported})) as (url, _):
        assert (await client.prove(url, "digits", REVISION, timeout_s=10)).evaluation == found


@pytest.mark.parametrize(
    "wrong",
    [{"value": 1.1}, {"low": None}, {"samples": 0}, {"outcome": "Splendid"}, {"metric": "a b"}, {"metric": "a" * 65}],
)
async def test_an_evaluation_that_cannot_be_right_is_no_valid_report(
    client: gateway.GatewayClient, wrong: dict[str, Any]
) -> None:
    async with data_port(answering({**REPORT, "evaluation": {**READ, **wrong}})) as (url, _):
        with pytest.raises(errors.Refused, match="is not valid: evaluation"):
            await client.prove(url, "digits", REVISION, timeout_s=10)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(503, {}, id="the gateway knows no replica"),
        pytest.param(504, {}, id="the gateway waited too long"),
        pytest.param(404, {}, id="the gateway does not have the revision yet"),
        pytest.param(413, OURS, id="too large at this moment"),
        pytest.param(429, OURS, id="too many requests"),
        pytest.param(503, OURS, id="the replica is busy or draining"),
        pytest.param(500, OURS, id="the replica could not answer"),
        pytest.param(200, {"x-fairlead-revision": "ffffffffff"}, id="another revision answered"),
        pytest.param(200, {}, id="nobody says who answered"),
    ],
)
async def test_an_answer_that_is_not_from_the_revision_is_retried(
    client: gateway.GatewayClient, status: int, headers: dict[str, str]
) -> None:
    async with data_port(answering(REPORT, status=status, headers=headers)) as (url, _):
        with pytest.raises(errors.Unreachable):
            await client.prove(url, "digits", REVISION, timeout_s=10)


def with_(**changed: Any) -> dict[str, Any]:
    return {**REPORT, **changed}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("no JSON", id="no JSON"),
        pytest.param("[" * 100_000, id="nested too deep"),
        pytest.param([], id="no object"),
        pytest.param(with_(schema=2), id="another schema"),
        pytest.param(with_(revision="ffffffffff"), id="another revision"),
        pytest.param(with_(digest="sha256:short"), id="no digest"),
        pytest.param(with_(outcome="Splendid"), id="an unknown outcome"),
        pytest.param(with_(inputs=[{"name": "x", "datatype": "no type", "shape": []}]), id="no datatype"),
        pytest.param(with_(inputs=[{"name": "x", "datatype": "FP32", "shape": [-2]}]), id="no size"),
        pytest.param(with_(inputs=[{"name": "x", "datatype": "FP32", "shape": [1] * 65}]), id="too many dimensions"),
        pytest.param(with_(inputs=[REPORT["inputs"][0]] * 8193), id="too many tensors"),
    ],
)
async def test_a_report_that_is_not_valid_is_refused_in_one_bounded_line(
    client: gateway.GatewayClient, body: Any
) -> None:
    async with data_port(answering(body)) as (url, _):
        with pytest.raises(errors.Refused) as refused:
            await client.prove(url, "digits", REVISION, timeout_s=10)
    assert len(str(refused.value)) < 700
    assert str(refused.value).isprintable()


async def test_an_endless_answer_is_cut_off_at_the_limit(client: gateway.GatewayClient) -> None:
    async with data_port(endless) as (url, _):
        with pytest.raises(errors.Refused, match="longer than 1048576 bytes"):
            await client.prove(url, "digits", REVISION, timeout_s=10)


async def test_an_answer_that_announces_too_many_bytes_is_not_read(client: gateway.GatewayClient) -> None:
    async def announce(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**OURS, "Content-Length": "2000000"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with data_port(announce) as (url, _):
        with pytest.raises(errors.Refused, match="longer"):
            await client.prove(url, "digits", REVISION, timeout_s=10)


async def test_text_of_a_tenant_is_one_line_without_control_characters(client: gateway.GatewayClient) -> None:
    tensor = {"name": "x\n\x1b[31m" + "y" * 5000, "datatype": "FP32", "shape": [-1]}
    report = with_(outcome="NotProvedByExample", message="first\nsecond\x00" + "z" * 5000, inputs=[tensor])
    async with data_port(answering(report)) as (url, _):
        read = await client.prove(url, "digits", REVISION, timeout_s=10)
    for text in (read.message, *read.signature.inputs):
        assert text.isprintable()
        assert len(text.encode()) <= 512


async def test_a_compressed_answer_is_not_unpacked(client: gateway.GatewayClient) -> None:
    async def packed(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        # 100 MB of spaces in 100 kB: who unpacks before looking at the size has lost.
        body = gzip.compress(json.dumps(with_(message=" " * 100_000_000)).encode())
        return web.Response(body=body, headers={**OURS, "Content-Encoding": "gzip"})

    async with data_port(packed) as (url, _):
        with pytest.raises(errors.Refused, match="not whole JSON"):
            await client.prove(url, "digits", REVISION, timeout_s=10)


async def test_a_message_contains_no_address(client: gateway.GatewayClient) -> None:
    async with data_port(answering(REPORT)) as (url, _):
        pass
    with pytest.raises(errors.Unreachable) as failure:
        await client.prove(url, "digits", REVISION, timeout_s=10)
    assert str(failure.value) == "gateway: POST /v2/models/digits/proof: connection refused"
    assert failure.value.cause == "connection refused", "the path is for logs alone"
