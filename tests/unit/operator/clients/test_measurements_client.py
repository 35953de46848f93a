"""The reading of ``GET /v1/measurements/<model>`` (docs/contracts.md), whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.support import builders
from tests.support.http_thread import HttpThread

from fairlead_gateway import measurements as gateway_side
from fairlead_operator.api.counts import Scale
from fairlead_operator.clients import clock, errors, http, measurements
from fairlead_operator.observe import measurements as observe
from fairlead_operator.state import directory, keys, question
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.measurements import GatewayReading, Readings

A, B = "3f0c9a1b2d", "7ab0c9d1e2"
KEY = keys.ModelKey("default", "digits")
HISTOGRAM = {"boundsSeconds": [0.1, 1.0], "counts": [5, 2, 0]}
REVISION = {
    "requests": {"total": 7, "serverErrors": 1, "clientErrors": 2, "aborted": 3},
    "durations": HISTOGRAM,
    "shadow": {"pairs": 4, "disagreed": 1, "failed": 2, "dropped": 9},
    "feedback": {"labelled": 6, "correct": 5},
    "scores": {"bounds": [0.5], "counts": [3, 4]},
}


@pytest.fixture
async def client() -> AsyncIterator[measurements.MeasurementsClient]:
    wire = http.HttpClient(clock=clock.SystemClock())
    yield measurements.MeasurementsClient(http_client=wire, on_request=lambda *_: None)
    await wire.close()


async def read(client: measurements.MeasurementsClient, document: Any, code: int = 200) -> GatewayReading:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document, status=code)

    def application() -> web.Application:
        made = web.Application()
        made.router.add_get("/v1/measurements/digits", answer)
        return made

    server = HttpThread(application)
    server.start()
    try:
        return await client.fetch(server.url, "digits")
    finally:
        server.stop()


def body_of(**revisions: Any) -> dict[str, Any]:
    return {"gateway": "g", "epoch": "e1", "revisions": revisions}


async def test_every_part_is_read_and_a_copy_that_was_not_answered_disagrees(
    client: measurements.MeasurementsClient,
) -> None:
    found = await read(client, body_of(**{A: REVISION}))
    assert (found.gateway, found.epoch) == ("g", "e1")
    assert (found.scale.durations_s, found.scale.scores) == ((0.1, 1.0), (0.5,))
    counters = found.counters_of(A)
    assert (counters.requests, counters.server_errors, counters.client_errors) == (7, 1, 2)
    assert counters.durations == (5, 2, 0)
    assert (counters.pairs, counters.disagreed) == (6, 3)
    assert (counters.labelled, counters.correct, counters.scores) == (6, 5, (3, 4))
    assert found.counters_of(B).requests == 0


async def test_the_answer_of_a_real_gateway_is_read(client: measurements.MeasurementsClient) -> None:
    found = await read(client, body_of(**{A: gateway_side.Counted().body(), B: gateway_side.Counted().body()}))
    assert set(found.revisions) == {A, B}
    assert len(found.scale.durations_s) == len(gateway_side.BUCKETS_S)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"gateway": "g", "revisions": {}}, id="no epoch"),
        pytest.param(body_of(**{A: {"requests": {"total": -1}}}), id="a negative count"),
        pytest.param(body_of(**{A: {"requests": {"total": "NaN"}}}), id="a count that is a word"),
        pytest.param(body_of(**{A: {"durations": {"boundsSeconds": [1.0], "counts": [1]}}}), id="too few counts"),
        pytest.param(body_of(**{A: {"durations": {"boundsSeconds": [2.0, 1.0], "counts": [1, 1, 1]}}}), id="falling"),
        pytest.param(
            body_of(**{A: REVISION, B: {"durations": {"boundsSeconds": [9.0], "counts": [1, 1]}}}), id="two scales"
        ),
    ],
)
async def test_an_incomplete_answer_is_unreachable(client: measurements.MeasurementsClient, document: Any) -> None:
    with pytest.raises(errors.Unreachable, match="unexpected measurements"):
        await read(client, document)


async def test_a_gateway_without_the_route_is_unreachable(client: measurements.MeasurementsClient) -> None:
    with pytest.raises(errors.Unreachable, match="404"):
        await read(client, {"error": "no route"}, code=404)


class Scripted:
    """Gateways by address, and a Prometheus with the given answers; an error is raised."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    async def fetch(self, admin_url: str, model: str) -> GatewayReading:
        found: GatewayReading = self._answer(admin_url)
        return found

    async def fetch_number(self, url: str, query: str, *, namespace: str) -> float | None:
        found: float | None = self._answer(query)
        return found

    def _answer(self, name: str) -> Any:
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


def reader(scripted: Scripted, *admin_urls: str, prometheus: str | None = "p") -> observe.MeasurementsReader:
    return observe.MeasurementsReader(
        scripted,
        scripted,
        listed=directory.StaticGateways({"default": builders.gateways(*admin_urls).value}),
        prometheus={"default": prometheus} if prometheus is not None else {},
    )


READING = GatewayReading(gateway="g", epoch="1", scale=Scale(), revisions={})


async def test_an_unreachable_gateway_is_named_beside_what_the_others_counted() -> None:
    scripted = Scripted(one=READING, two=errors.Unreachable("two is away"))
    found = await reader(scripted, "one", "two").read(KEY, question.Question())
    read = (replace(READING, gateway="gateway-0"),)
    assert found.gateways == Known(Readings(read=read, unread={"gateway-1": "two is away"}))


async def test_a_reading_has_the_name_that_the_directory_has() -> None:
    """Two gateways that give themselves the same name are two, also while one of them can't be read."""
    found = await reader(Scripted(one=READING, two=READING), "one", "two").read(KEY, question.Question())
    assert isinstance(found.gateways, Known)
    assert [each.gateway for each in found.gateways.value.read] == ["gateway-0", "gateway-1"]


async def test_each_query_has_its_own_answer() -> None:
    scripted = Scripted(one=READING, q1=1.5, q2=errors.Refused("two series"), q3=None)
    asked = question.Question(queries={"a": "q1", "b": "q2", "c": "q3"})
    found = await reader(scripted, "one").read(KEY, asked)
    assert found.answers == {"a": Known(1.5), "b": Unknown("two series"), "c": Known(None)}


async def test_without_a_gateway_or_prometheus_the_measurements_are_unknown() -> None:
    found = await reader(Scripted(), prometheus=None).read(KEY, question.Question(queries={"a": "q"}))
    assert isinstance(found.gateways, Unknown)
    assert "was given no Prometheus" in str(found.answers["a"])
