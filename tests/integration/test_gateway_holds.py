"""Requests of a model without a replica wait at the gateway: real agent, real HAProxy, stand-ins for replicas."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.support.gateway_process import Answer, Gateway, Replicas, fetch, gateway_and_replicas, revision, spec
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
HOLD = {"requests": 250, "seconds": 200, "parallel": 64, "idleSeconds": 1}
"""Hardly a test waits for the end of this hold: on a busy machine a stand-in alone may take a minute to start."""
ANSWER_S = 250.0


class Held:
    """A gateway with one model that may have no replica, and has none."""

    def __init__(self, gateway: Gateway, replicas: Replicas) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self._pool = ThreadPoolExecutor(max_workers=300)

    def apply(self, **changed: Any) -> None:
        routed = spec(A, {A: revision(aliases=("1",))}, **{"hold": HOLD, **changed})
        self.gateway.apply(digits=routed)

    def ask(self, *, body: bytes = b"{}", path: str = "infer", **headers: str) -> Future[Answer]:
        url = f"{self.gateway.url}/v2/models/digits/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.submit(fetch, url, body=body, headers=named, timeout_s=ANSWER_S)

    def report(self) -> dict[str, Any]:
        return dict(self.gateway.routes().get("routes", {}).get("digits", {}).get("hold", {}))

    def until_waiting(self, count: int) -> None:
        until(lambda: self.report().get("waiting") == count, f"{count} requests held", explain=self.report)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with gateway_and_replicas(tmp_path) as (gateway, replicas):
        made = Held(gateway, replicas)
        try:
            yield made
        finally:
            made.close()


def test_two_hundred_requests_wait_for_the_first_replica(held: Held) -> None:
    held.apply()
    asked = [held.ask(body=json.dumps({"number": number}).encode()) for number in range(200)]
    held.until_waiting(200)
    assert not any(each.done() for each in asked)

    held.replicas.start("digits", A)
    answers = [each.result() for each in asked]

    assert {each.status for each in answers} == {200}
    assert {each.headers["x-fairlead-revision"] for each in answers} == {A}
    held.until_waiting(0)
    assert held.gateway.metric("fairlead_gateway_held_requests_ended_total", model="digits", end="released") == 200
    assert held.gateway.metric("fairlead_gateway_hold_duration_seconds_count", model="digits") == 200


def test_a_request_for_an_explanation_waits_for_the_first_replica_as_a_prediction_does(held: Held) -> None:
    held.apply()
    asked = held.ask(path="explain")
    held.until_waiting(1)
    assert not asked.done()

    held.replicas.start("digits", A)

    assert asked.result().headers["x-fairlead-revision"] == A
    until(
        lambda: held.gateway.metric("fairlead_gateway_explanations_total", model="digits", revision=A) == 1,
        "the explanation is counted apart",
    )
    assert held.gateway.metric("fairlead_gateway_requests_total", model="digits") == 0


def test_what_is_over_the_bound_is_refused_at_once(held: Held) -> None:
    held.apply(hold={**HOLD, "requests": 2})
    asked = [held.ask(), held.ask()]
    held.until_waiting(2)

    third = held.ask().result()

    assert (third.status, third.headers["retry-after"]) == (503, "5")
    assert "2 requests wait for one already" in third.json["error"]
    held.replicas.start("digits", A)
    assert [each.result().status for each in asked] == [200, 200]
    until(
        lambda: held.gateway.metric("fairlead_gateway_held_requests_ended_total", model="digits", end="refused") == 1,
        "the refusal is counted",
    )


def test_a_request_waits_no_longer_than_its_bound(held: Held) -> None:
    held.apply(hold={**HOLD, "seconds": 1})
    began = time.monotonic()

    answer = held.ask().result()

    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "no replica was ready within 1000 ms" in answer.json["error"]
    assert 0.9 <= time.monotonic() - began < 60
    held.until_waiting(0)


def test_a_large_body_is_held_and_arrives_whole(held: Held) -> None:
    held.apply()
    asked = held.ask(body=b"x" * 900_000)
    held.until_waiting(1)

    held.replicas.start("digits", A)

    assert asked.result().json["received"] == 900_000


def test_held_requests_outlive_a_reload_and_the_agent(held: Held) -> None:
    held.apply()
    asked = [held.ask() for _ in range(20)]
    held.until_waiting(20)
    reloads = held.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    match = [{"header": "x-team", "value": "blue"}]
    held.gateway.apply(
        digits=spec(A, {A: revision(aliases=("1",)), B: revision()}, candidate=B, match=match, hold=HOLD)
    )
    assert held.gateway.metric("fairlead_gateway_haproxy_reloads_total") == reloads + 1
    held.until_waiting(20)

    held.gateway.kill_agent()
    held.gateway.start()
    held.until_waiting(20)
    held.replicas.start("digits", A)

    assert [each.result().status for each in asked] == [200] * 20


def test_a_label_outlives_a_reload(held: Held) -> None:
    held.apply()
    asked = held.ask(path="labels/stable/infer")
    held.until_waiting(1)
    held.replicas.start("digits", B)
    held.gateway.apply(digits=spec(A, {A: revision(), B: revision()}, hold=HOLD))
    held.gateway.wait_up("digits", B)

    match = [{"header": "x-team", "value": "blue"}]
    to_candidate = {"candidate": B, "candidateWeight": 10_000, "match": match}
    held.gateway.apply(digits=spec(A, {A: revision(), B: revision()}, hold=HOLD, **to_candidate))
    held.replicas.start("digits", A)

    answer = asked.result()
    assert (answer.status, answer.json["revision"], answer.json["path"]) == (200, A, "/v2/models/digits/infer")


def test_held_requests_get_their_turn_beside_newcomers(held: Held) -> None:
    held.apply(hold={**HOLD, "parallel": 4})
    asked = [held.ask() for _ in range(12)]
    held.until_waiting(12)
    are_answered = Event()

    def come(delay_s: float) -> set[int]:
        found = set()
        while not are_answered.is_set():
            found.add(held.ask(x_delay_s=str(delay_s)).result().status)
        return found

    held.replicas.start("digits", A, delay_s=1)
    held.gateway.wait_up("digits", A)
    with ThreadPoolExecutor(max_workers=10) as pool:
        # Of different lengths, so that at no time all of them are between two requests.
        newcomers = [pool.submit(come, 1 + 0.07 * number) for number in range(10)]
        try:
            statuses = [each.result().status for each in asked]
        finally:
            are_answered.set()

    assert statuses == [200] * 12
    assert set().union(*(each.result() for each in newcomers)) == {200}


def test_a_request_that_comes_once_the_last_replica_has_closed_its_port_is_held(held: Held) -> None:
    held.apply()
    last = held.replicas.start("digits", A)
    held.gateway.wait_up("digits", A)
    assert held.ask().result().status == 200

    last.process.send_signal(signal.SIGTERM)
    until(lambda: not _accepts(last.port), "the port is closed")
    asked = held.ask()
    held.until_waiting(1)
    held.replicas.start("digits", A)

    assert asked.result().status == 200


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_only_clients_are_held(held: Held) -> None:
    """A proof, a copy and feedback get their answer at once, and so does a request for a revision that isn't stable."""
    held.apply()
    proof = held.ask(path="proof", x_fairlead_revision=A).result()
    copy = held.ask(x_fairlead_revision=A, x_fairlead_shadow_copy="unsigned").result()
    feedback = held.ask(path="feedback").result()
    held.gateway.apply(digits=spec(A, {A: revision(), B: revision()}, hold=HOLD))
    other = held.ask(x_fairlead_revision=B).result()

    assert {each.status for each in (proof, copy, feedback, other)} == {503}
    assert held.report()["waiting"] == 0


def test_the_place_of_a_client_that_left_is_free_before_its_hold_is_over(held: Held) -> None:
    held.apply(hold={**HOLD, "requests": 1})
    body = b"{}"
    head = f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", held.gateway.data_port), timeout=60) as client:
        client.sendall(head.encode() + body)
        held.until_waiting(1)
    held.until_waiting(0)
    assert held.gateway.metric("fairlead_gateway_held_requests_ended_total", model="digits", end="left") == 1


@pytest.mark.parametrize("packets", [1, 2])
def test_nothing_is_run_for_clients_that_left_while_they_were_held(held: Held, packets: int) -> None:
    held.apply()
    body = b"{}"
    head = f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    clients = [socket.create_connection(("127.0.0.1", held.gateway.data_port), timeout=60) for _ in range(5)]
    for client in clients:
        for part in (head, body) if packets == 2 else (head + body,):
            client.sendall(part)
    held.until_waiting(5)
    for client in clients:
        client.close()

    replica = held.replicas.start("digits", A)
    held.until_waiting(0)
    assert held.ask().result().status == 200

    assert fetch(f"http://127.0.0.1:{replica.port}/-/counts").json["served"] == 1


def test_the_changes_say_that_a_request_is_held_and_that_a_model_is_idle(held: Held) -> None:
    held.apply()
    held.replicas.start("digits", A)
    held.gateway.wait_up("digits", A)
    assert held.ask().result().status == 200
    until(lambda: held.report() == {"waiting": 0, "idle": True}, "idle", explain=held.report)
    # Idle again a second later, which is before the report is read where the machine is busy. The next answer counts.
    until(lambda: _is_busy_after_an_answer(held), "a model that has just answered isn't idle", explain=held.report)


def _is_busy_after_an_answer(held: Held) -> bool:
    assert held.ask().result().status == 200
    return held.report() == {"waiting": 0, "idle": False}
