"""What the rules of access decide of a request, in a HAProxy without an agent."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.support import bare_haproxy
from tests.support.until import until

from fairlead_gateway.haproxy import access, config

KEYS = {"team-a": "team-a-key-0123456789", "team-b": "team-b-key-0123456789"}
UNKNOWN = "nobodys-key-0123456789"
LET_THROUGH = 404
"""HAProxy has no route."""

METADATA = "/inference.GRPCInferenceService/ServerMetadata"


@dataclass
class Asked:
    """A HAProxy with the keys of two clients."""

    port: int

    def ask(self, key: str | None = None) -> tuple[int, str]:
        """The status and the error of a prediction."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {} if key is None else {"x-api-key": key}
            connection.request("POST", "/v2/models/digits/infer", body=b"{}", headers=headers)
            answer = connection.getresponse()
            retry = "" if answer.status != 429 else f" retry-after: {answer.getheader('retry-after')}"
            return answer.status, json.loads(answer.read())["error"] + retry
        finally:
            connection.close()

    def call(self, *metadata: tuple[str, str]) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/inference.GRPCInferenceService/ModelMetadata")(
                    b"\x0a\x06digits", timeout=30, metadata=metadata
                )
            code: grpc.StatusCode = refused.value.code()
            return code

    @contextlib.contextmanager
    def guessing(self) -> Iterator[list[int]]:
        """Eight clients that try keys all the time, and the statuses that they got."""
        stopped, statuses = threading.Event(), list[int]()

        def guess() -> None:
            while not stopped.is_set():
                statuses.append(self.ask(UNKNOWN)[0])

        with ThreadPoolExecutor(8) as pool:
            guesses = [pool.submit(guess) for _ in range(8)]
            try:
                until(lambda: 429 in statuses, "too many")
                yield statuses
            finally:
                stopped.set()
            for each in guesses:
                each.result()


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    digests = {hashlib.sha256(key.encode()).hexdigest().upper(): name for name, key in KEYS.items()}
    maps = {access.KEY_MAP: "".join(f"{digest} {name}\n" for digest, name in digests.items())}
    options = config.Options(version="0.1.0", max_connections=100, has_api_keys=True)
    with bare_haproxy.running(tmp_path, options, maps) as port:
        yield Asked(port)


def test_an_address_that_tries_many_keys_gets_429_for_them_and_refuses_no_client(asked: Asked) -> None:
    with asked.guessing() as statuses:
        assert {asked.ask(KEYS["team-a"])[0] for _ in range(50)} == {LET_THROUGH}
        assert asked.call(("x-api-key", KEYS["team-a"])) is grpc.StatusCode.NOT_FOUND
        assert {asked.ask()[0] for _ in range(20)} == {401}, "nothing is tried"
        words = "too many requests with unknown API keys come from this address; try again after retry-after seconds"
        until(lambda: asked.ask(UNKNOWN) == (429, f"{words} retry-after: 1"), "a wrong key over the limit")
        until(lambda: asked.call(("x-api-key", UNKNOWN)) is grpc.StatusCode.RESOURCE_EXHAUSTED, "a call over the limit")
    assert set(statuses) == {401, 429}
    until(lambda: asked.ask(UNKNOWN)[0] == 401, "below the limit again", poll_s=0.2)


def test_health_by_grpc_is_limited_for_each_address_and_health_by_http_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A low limit, which a slow machine reaches too. No agent is there to answer the calls below it."""
    monkeypatch.setattr(access, "HEALTH_CALLS_PER_S", 5)
    options = config.Options(version="0.1.0", max_connections=100, has_api_keys=True)
    found = set[grpc.StatusCode]()
    with (
        bare_haproxy.running(tmp_path, options, {access.KEY_MAP: ""}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        check = channel.unary_unary("/grpc.health.v1.Health/Check")

        def press() -> bool:
            found.update(call.code() for call in [check.future(b"", timeout=60) for _ in range(50)])
            return grpc.StatusCode.RESOURCE_EXHAUSTED in found

        until(press, "too many")
        for _ in range(50):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/v2/health/live")
            assert connection.getresponse().status == 200
            connection.close()
    assert found == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_a_request_that_is_refused_is_not_waited_for(asked: Asked) -> None:
    head = "POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\n{}content-length: 60000\r\n\r\n{{"
    unknown, known = f"x-api-key: {UNKNOWN}\r\n", f"x-api-key: {KEYS['team-a']}\r\n"
    for header, code in (("", b"401"), (unknown, b"401"), (known, b"408")):
        with socket.create_connection(("127.0.0.1", asked.port), timeout=60) as sent:
            sent.sendall(head.format(header).encode())
            assert sent.recv(1 << 16).split(b" ")[1] == code, header


def test_a_call_that_is_refused_is_not_waited_for(asked: Asked) -> None:
    ended = threading.Event()

    def messages() -> Iterator[bytes]:
        ended.wait(60)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{asked.port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(METADATA)(messages(), timeout=50)
        ended.set()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
