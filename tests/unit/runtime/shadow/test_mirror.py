"""Copies go out after the answer, by the gateway's address, and are counted by what came of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from tests.support.replica_parts import MODEL, Setting, answer_of, assemble, float_signature, request

from fairlead_runtime.analysis_counters import AnalysisCounters
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.shadow import compare, mirror

CANDIDATE = "7ab0c9d1e2"
ROW = [0.1, 0.2, 0.9, 0.3]


@dataclass
class Gateway:
    """Receives the copies: it answers as configured, and records the requests."""

    port: int = 0
    status: int = 200
    revision: str = CANDIDATE
    body: bytes | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, asked: web.Request) -> web.Response:
        self.seen.append((asked.path, {k.lower(): v for k, v in asked.headers.items()}, await asked.read()))
        await self.gate.wait()
        body = self.body if self.body is not None else json.dumps({"predictions": [ROW]}).encode()
        return web.Response(status=self.status, body=body, headers={"x-fairlead-revision": self.revision})


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    made.gate.set()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    made.gate.set()
    await runner.cleanup()


@pytest.fixture
def measured() -> AnalysisCounters:
    return AnalysisCounters()


@pytest.fixture
async def copies(measured: AnalysisCounters) -> AsyncIterator[mirror.Mirror]:
    settings = mirror.Settings(model=MODEL, timeout_s=20, sign=lambda candidate: f"signed for {candidate}")
    made = mirror.Mirror(settings, measured, asyncio.get_running_loop())
    yield made
    await made.close()


def marked(gateway: Gateway, path: str = f"/v1/models/{MODEL}:predict", **headers: str) -> Request:
    given = {b"x-fairlead-shadow": f"127.0.0.1:{gateway.port}/{CANDIDATE}".encode()}
    given |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return request("POST", path, {"instances": [ROW]}, given)


def answered(body: object = None, *, protocol: str = "v1", status: int = 200) -> Response:
    return Response(status=status, body=json.dumps(body or {"predictions": [ROW]}).encode(), protocol=protocol)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.005)


def counts(measured: AnalysisCounters) -> dict[str, int]:
    return measured.pairs(CANDIDATE).body()


async def test_a_copy_is_sent_to_the_candidate_through_the_gateway(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    asked = marked(
        gateway,
        f"/v1/models/{MODEL}/versions/3:predict",
        content_type="application/json",
        x_request_id="a1",
        content_encoding="identity",
    )
    copies.offer(asked, answered())
    await until(lambda: measured.pairs(CANDIDATE).pairs == 1)

    ((path, headers, body),) = gateway.seen
    assert (path, body) == (f"/v1/models/{MODEL}:predict", asked.body)
    assert headers["x-fairlead-revision"] == CANDIDATE
    assert headers["x-fairlead-shadow-copy"] == f"signed for {CANDIDATE}"
    assert (headers["content-type"], headers["x-request-id"]) == ("application/json", "a1")
    assert headers["content-encoding"] == "identity", "the copied body is what the client sent"
    assert "x-fairlead-shadow" not in headers
    assert counts(measured) == {"pairs": 1, "disagreed": 0, "failed": 0, "dropped": 0}


async def test_answers_are_compared_on_a_thread_of_their_own_which_ends_with_the_mirror(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges: list[threading.Thread] = []
    compared = compare.is_different

    def judge(*answers: Any) -> bool:
        judges.append(threading.current_thread())
        return compared(*answers)

    monkeypatch.setattr(compare, "is_different", judge)
    copies.offer(marked(gateway), answered())
    await until(lambda: measured.pairs(CANDIDATE).pairs == 1)

    (thread,) = judges
    assert thread is not threading.current_thread(), "clients wait on the loop"
    await copies.close()
    await until(lambda: not thread.is_alive())


async def test_a_different_answer_of_the_candidate_is_counted(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    copies.offer(marked(gateway), answered({"predictions": [[0.9, 0.1, 0.1, 0.1]]}))
    await until(lambda: measured.pairs(CANDIDATE).pairs == 1)

    assert counts(measured) == {"pairs": 1, "disagreed": 1, "failed": 0, "dropped": 0}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"status": 503}, id="no replica"),
        pytest.param({"status": 302}, id="sent elsewhere"),
        pytest.param({"revision": "0000000000"}, id="another revision answered"),
        pytest.param({"body": b"<html>"}, id="not an answer"),
    ],
)
async def test_an_unusable_answer_of_the_candidate_counts_as_failed(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(gateway, name, value)
    copies.offer(marked(gateway), answered())
    await until(lambda: measured.pairs(CANDIDATE).failed == 1)

    assert counts(measured) == {"pairs": 0, "disagreed": 0, "failed": 1, "dropped": 0}


async def test_a_copy_goes_to_the_sender_of_the_mark_whatever_address_the_mark_says(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    elsewhere = f"192.0.2.7:{gateway.port}/{CANDIDATE}"
    copies.offer(marked(gateway, x_fairlead_shadow=elsewhere), answered())
    await until(lambda: measured.pairs(CANDIDATE).pairs == 1)

    assert len(gateway.seen) == 1


async def test_a_copy_to_a_closed_port_counts_as_failed(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    asked = request("POST", f"/v1/models/{MODEL}:predict", {}, {b"x-fairlead-shadow": b"127.0.0.1:1/7ab0c9d1e2"})
    copies.offer(asked, answered())
    await until(lambda: measured.pairs(CANDIDATE).failed == 1)


async def test_copies_for_a_slow_candidate_are_dropped_when_the_queue_is_full(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    gateway.gate.clear()
    for _ in range(mirror.IN_FLIGHT_MAX):
        copies.offer(marked(gateway), answered())
    await until(lambda: len(gateway.seen) == mirror.IN_FLIGHT_MAX)

    for _ in range(mirror.QUEUED_MAX + 10):
        copies.offer(marked(gateway), answered())

    assert counts(measured)["dropped"] == 10
    assert len(gateway.seen) == mirror.IN_FLIGHT_MAX
    gateway.gate.set()
    await until(lambda: measured.pairs(CANDIDATE).pairs == mirror.IN_FLIGHT_MAX + mirror.QUEUED_MAX)


async def test_large_bodies_are_dropped_before_they_fill_the_memory(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters
) -> None:
    gateway.gate.clear()
    large = Response(status=200, body=b"x" * (mirror.QUEUED_BYTES_MAX // 2), protocol="v1")
    for _ in range(mirror.IN_FLIGHT_MAX):
        copies.offer(marked(gateway), answered())
    await until(lambda: len(gateway.seen) == mirror.IN_FLIGHT_MAX)

    for _ in range(3):
        copies.offer(marked(gateway), large)

    assert counts(measured)["dropped"] == 2


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param(f"/v1/models/{MODEL}:predict", {}, 400, id="refused"),
        pytest.param(f"/v1/models/{MODEL}:classify", {}, 200, id="classify"),
        pytest.param(f"/v2/models/{MODEL}", {}, 200, id="metadata"),
        pytest.param(f"/v1/models/{MODEL}:predict", {"x_fairlead_shadow_copy": "x"}, 200, id="a copy itself"),
        pytest.param(f"/v1/models/{MODEL}:predict", {"x_fairlead_shadow": "metadata:80/7ab0c9d1e2"}, 200, id="a name"),
    ],
)
async def test_only_predictions_that_were_answered_and_rightly_marked_are_copied(
    gateway: Gateway, copies: mirror.Mirror, measured: AnalysisCounters, path: str, headers: dict[str, str], status: int
) -> None:
    copies.offer(marked(gateway, path, **headers), answered(status=status))
    copies.offer(marked(gateway), answered())
    await until(lambda: measured.pairs(CANDIDATE).pairs == 1)

    assert len(gateway.seen) == 1


async def test_a_replica_offers_its_answers_to_the_mirror(gateway: Gateway) -> None:
    parts = assemble(asyncio.get_running_loop(), Setting(signature=float_signature(rows=None)))
    asked = marked(gateway)
    gateway.body = json.dumps({"predictions": [[2 * each for each in ROW]]}).encode()

    answered = answer_of(parts.handler, asked)
    for take in parts.shared.on_answer:
        take(asked, answered)
    await until(lambda: parts.metrics.measured.pairs(CANDIDATE).pairs == 1)
    for finish in parts.shared.finish:
        await finish()

    assert counts(parts.metrics.measured)["disagreed"] == 0
    shown = answer_of(parts.handler, request("GET", "/metrics")).body.decode()
    samples = [sample for family in text_string_to_metric_families(shown) for sample in family.samples]
    pairs = [sample for sample in samples if sample.name == "fairlead_replica_shadow_pairs_total"]
    agreed = [(sample.labels["candidate"], sample.value) for sample in pairs if sample.labels["outcome"] == "agreed"]
    assert agreed == [(CANDIDATE, 1.0)]


async def test_a_request_marked_as_copy_is_answered_only_with_the_proof_of_a_replica() -> None:
    stable = assemble(asyncio.get_running_loop(), Setting(signature=float_signature(rows=None)))
    candidate = assemble(asyncio.get_running_loop(), Setting(signature=float_signature(rows=None), revision=CANDIDATE))
    path, body = f"/v1/models/{MODEL}:predict", {"instances": [ROW]}

    def status(mark: str) -> int:
        return answer_of(
            candidate.handler, request("POST", path, body, {b"x-fairlead-shadow-copy": mark.encode()})
        ).status

    assert status(stable.copy_mark(CANDIDATE)) == 200
    assert status(stable.copy_mark("0000000000")) == 403
    assert status("made up") == 403
