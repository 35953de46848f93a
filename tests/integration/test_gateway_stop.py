"""A gateway that stops fails no request, also on connections that its clients keep open."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.gateway_process import Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.replica_stand_in import UNTIL
from tests.support.until import until

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
PATH = "/v2/models/digits/infer"
CONNECTIONS = 20
GRACE_S = 200.0
"""How long HAProxy may take to end: what is in flight at a stop gets its answer when the test says so."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Gateway, Replicas]]:
    """A gateway that serves on until a second signal, with a replica of A."""
    node = make_node(tmp_path / "node")
    gateway = Gateway(tmp_path / "gateway", nodes=[node], stop_delay_s=3600, stop_grace_s=GRACE_S)
    replicas = Replicas(node)
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision()}, requestTimeoutSeconds=GRACE_S))
        gateway.wait_up("digits", A)
        yield gateway, replicas
    finally:
        if gateway.is_running():
            _stop(gateway)
        gateway.stop()
        replicas.stop()


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Path]:
    """The file with which the slow request gets its answer, at the end of the test at the latest."""
    yield tmp_path / "release"
    (tmp_path / "release").touch()


def _ask(connection: http.client.HTTPConnection) -> tuple[int, str | None, str]:
    """One request on a connection; its status, what it says of the connection, and the body."""
    connection.request("POST", PATH, body=b"{}")
    answer = connection.getresponse()
    return answer.status, answer.headers["connection"], answer.read().decode()


def _open(gateway: Gateway) -> http.client.HTTPConnection:
    """A connection that has had one answer and is kept open."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.data_port, timeout=60)
    status, header, body = _ask(connection)
    assert (status, header) == (200, None), body
    return connection


def test_a_stopping_gateway_closes_each_connection_with_an_answer(stage: tuple[Gateway, Replicas]) -> None:
    gateway, _ = stage
    with contextlib.closing(_open(gateway)) as kept:
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: fetch(f"{gateway.url}/v2/health/ready").status == 503, "the data port says that it stops")
        answers: list[tuple[int, str | None]] = []

        def is_closed() -> bool:
            answers.append(_ask(kept)[:2])
            return answers[-1][1] == "close"

        # The first answer, but for a connection that a worker holds which a reload is just replacing.
        until(is_closed, "an answer closes the connection")
        assert {status for status, _ in answers} == {200}


def test_the_next_request_on_a_connection_that_was_kept_open_is_answered(
    stage: tuple[Gateway, Replicas], release: Path
) -> None:
    gateway, _ = stage
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as opened:
        connections = [opened.enter_context(contextlib.closing(_open(gateway))) for _ in range(CONNECTIONS)]
        slow = pool.submit(_ask_slowly, gateway, release)
        until(lambda: _in_flight(gateway) == 1, "the slow request is in flight")
        _stop(gateway)
        until(lambda: not gateway.servers_up(), "HAProxy has begun to stop and listens nowhere")

        answers = [_ask(connection) for connection in connections]
        release.touch()

        assert {(status, header) for status, header, _ in answers} == {(200, "close")}, answers
        assert slow.result() == 200


def test_new_connections_are_refused_at_once_while_the_last_answers_are_given(
    stage: tuple[Gateway, Replicas], release: Path
) -> None:
    """They would wait for nobody: until the gateway is gone, or for the whole time that their client has."""
    gateway, _ = stage
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(_ask_slowly, gateway, release)
        until(lambda: _in_flight(gateway) == 1, "the slow request is in flight")
        _stop(gateway)
        until(lambda: not gateway.servers_up(), "HAProxy has begun to stop and listens nowhere")

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gateway.data_port), timeout=60).close()
        assert not slow.done()
        release.touch()
        assert slow.result() == 200


def test_an_agent_that_was_killed_while_it_ended_its_haproxy_has_a_successor_that_serves(
    stage: tuple[Gateway, Replicas], release: Path
) -> None:
    gateway, _ = stage
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(_ask_slowly, gateway, release)
        until(lambda: _in_flight(gateway) == 1, "the slow request is in flight")
        _stop(gateway)
        until(lambda: not gateway.servers_up(), "HAProxy has begun to stop and listens nowhere")
        gateway.kill_agent()
        gateway.start()
        release.touch()
        assert slow.result() == 200
    gateway.wait_up("digits", A)
    with contextlib.closing(_open(gateway)) as connection:
        assert _ask(connection)[0] == 200


def test_it_says_that_it_stops_while_its_routes_cannot_be_applied(stage: tuple[Gateway, Replicas]) -> None:
    """Else its clients would notice nothing before HAProxy ends."""
    gateway, _ = stage
    blocked = gateway.state_dir / "pool.json"
    blocked.unlink()
    blocked.mkdir()
    with contextlib.closing(_open(gateway)) as kept:
        os.kill(gateway.pid, signal.SIGTERM)
        until(
            # Before it takes the signal, it may say that it could not apply its routes.
            lambda: "the gateway is stopping" in fetch(f"{gateway.url}/v2/health/ready").text,
            "the data port says that it stops",
        )
        assert _ask(kept)[:2] == (200, "close")


def test_a_request_that_is_held_is_sent_back_at_the_stop(stage: tuple[Gateway, Replicas]) -> None:
    """No replica can come any more for a gateway that ends."""
    gateway, _ = stage
    hold = {"requests": 10, "seconds": 3000, "parallel": 1, "idleSeconds": 1}
    gateway.apply(digits=spec(B, {B: revision()}, hold=hold))
    with ThreadPoolExecutor() as pool:
        held = pool.submit(fetch, f"{gateway.url}{PATH}", body=b"{}", timeout_s=300)
        until(lambda: _held(gateway) == 1, "the request is held")
        _stop(gateway)

        answer = held.result()

    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert "this gateway is stopping: send the request again" in answer.json["error"]


def _stop(gateway: Gateway) -> None:
    """Tell it to stop, and not to wait for its clients."""
    os.kill(gateway.pid, signal.SIGTERM)
    until(lambda: not gateway.is_ready(), "it took the first signal")
    os.kill(gateway.pid, signal.SIGTERM)


def _held(gateway: Gateway) -> int:
    return int(gateway.routes().get("routes", {}).get("digits", {}).get("hold", {}).get("waiting", -1))


def _in_flight(gateway: Gateway) -> int:
    """The requests of A over all workers, as the gateway reports them; -1 while it does not."""
    found = gateway.routes().get("routes", {}).get("digits", {}).get("revisions", {}).get(A, {})
    return int(found.get("sessions", -1))


def _ask_slowly(gateway: Gateway, release: Path) -> int:
    headers = {UNTIL: str(release)}
    return fetch(f"{gateway.url}{PATH}", body=b"{}", headers=headers, timeout_s=GRACE_S).status
