"""One number from a Prometheus, or a sentence on why there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.fake_prometheus import FakePrometheus

from fairlead_operator.clients import clock, errors, http, prometheus


@pytest.fixture
def server() -> Iterator[FakePrometheus]:
    with FakePrometheus() as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[prometheus.PrometheusClient]:
    wire = http.HttpClient(clock=clock.SystemClock())
    yield prometheus.PrometheusClient(http_client=wire, on_request=lambda *_: None)
    await wire.close()


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        pytest.param(0.25, 0.25, id="a number"),
        pytest.param("+Inf", float("inf"), id="infinite"),
        pytest.param("NaN", None, id="not a number"),
        pytest.param(None, None, id="no series"),
    ],
)
async def test_an_expression_gives_one_number_or_none(
    server: FakePrometheus,
    client: prometheus.PrometheusClient,
    answer: float | str | None,
    number: float | None,
) -> None:
    server.answer = answer
    assert await client.fetch_number(server.url, "sum(up) + 1", namespace="team-a") == number
    assert (server.queries, server.namespaces) == (["sum(up) + 1"], ["team-a"])


async def test_several_series_are_refused(server: FakePrometheus, client: prometheus.PrometheusClient) -> None:
    server.answer = [1.0, 2.0]
    with pytest.raises(errors.Refused, match="returns 2 series"):
        await client.fetch_number(server.url, "up", namespace="team-a")


@pytest.mark.parametrize(("code", "kind"), [(400, errors.Refused), (422, errors.Refused), (500, errors.Unreachable)])
async def test_a_refused_query_differs_from_a_failed_one(
    server: FakePrometheus, client: prometheus.PrometheusClient, code: int, kind: type[Exception]
) -> None:
    server.code = code
    with pytest.raises(kind, match="refused"):
        await client.fetch_number(server.url, "up", namespace="team-a")


async def test_a_late_answer_is_ignored(
    server: FakePrometheus, client: prometheus.PrometheusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT_S", 0.2)
    server.is_late = True
    with pytest.raises(errors.Unreachable):
        await client.fetch_number(server.url, "up", namespace="team-a")


async def test_text_instead_of_a_number_is_refused(server: FakePrometheus, client: prometheus.PrometheusClient) -> None:
    server.answer = "many"
    with pytest.raises(errors.Unreachable, match="not a number"):
        await client.fetch_number(server.url, "up", namespace="team-a")


async def test_series_have_their_labels(server: FakePrometheus, client: prometheus.PrometheusClient) -> None:
    server.answer, server.labels = [0.25, 0.5], [{"model": "digits"}, {"model": "words"}]
    found = await client.fetch_series(server.url, "up", namespace="team-a")
    assert [(each.labels["model"], each.value) for each in found] == [("digits", 0.25), ("words", 0.5)]
    server.answer = None
    assert await client.fetch_series(server.url, "up", namespace="team-a") == []
    server.code = 422
    with pytest.raises(errors.Refused, match="refused"):
        await client.fetch_series(server.url, "up", namespace="team-a")
