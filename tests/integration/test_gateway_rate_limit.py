"""Rate limits of clients at a real gateway: by key and by address, REST and gRPC, and what is not limited."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.support.gateway_process import Answer, Gateway, Replicas, fetch, free_port, make_node, revision, spec
from tests.support.until import until

from fairlead_gateway.haproxy import access

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
METADATA = "/inference.GRPCInferenceService/ServerMetadata"
LIVE = "/inference.GRPCInferenceService/ServerLive"
KEYS = {"team-a": "team-a-key-0123456789", "team-b": "team-b-key-0123456789"}


@dataclass
class Limited:
    gateway: Gateway
    internal: str

    def ask(self, key: str | None = None, path: str = "/v2/models/digits/infer", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["x-api-key"] = key
        body = None if "health" in path else b"{}"
        return fetch(f"{self.gateway.url}{path}", body=body, headers=sent)

    def statuses(self, count: int, key: str | None = None) -> list[int]:
        return [self.ask(key).status for _ in range(count)]

    def call(self, path: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
        with grpc.insecure_channel(self.gateway.url.removeprefix("http://")) as channel:
            try:
                channel.unary_unary(path)(b"", timeout=20, metadata=metadata)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
        return grpc.StatusCode.OK


@contextlib.contextmanager
def limited(root: Path, *flags: str) -> Iterator[Limited]:
    node, port = make_node(root / "node"), free_port()
    arguments = (f"--routes-file={root / 'gateway-routes.json'}", f"--internal-port={port}", *flags)
    gateway, replicas = Gateway(root / "gateway", nodes=[node], arguments=arguments), Replicas(node)
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        yield Limited(gateway, f"http://127.0.0.1:{port}")
    finally:
        gateway.stop()
        replicas.stop()


def test_an_address_may_send_its_burst_and_then_its_rate(tmp_path: Path) -> None:
    # None of them comes back within 15 seconds, which the requests that are refused don't take.
    with limited(tmp_path, "--rate-limit=1:15") as made:
        assert made.statuses(15) == [200] * 15
        refused = made.ask()
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "sends more requests than it may" in refused.json["error"]
        assert made.ask(x_fairlead_held="1").status == 429, "what only a worker may say"
        assert made.ask(path="/v2/nothing").status == 429
        assert made.ask(path="/v2/models/digits/explain").status == 429, "an explanation counts as any request"
        assert made.ask(path="/v2/health/live").status == 200
        assert made.call(METADATA) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert made.call(LIVE) is grpc.StatusCode.OK
        named = {"x-fairlead-revision": A}
        proofs = [fetch(f"{made.internal}/v2/models/digits/proof", body=b"", headers=named).status for _ in range(20)]
        assert proofs == [200] * 20, "the operator is not limited"
        until(lambda: made.gateway.metric("fairlead_gateway_requests_total", code="429", model="") >= 4, "counted")
        until(lambda: made.ask().status == 200, "it may again", poll_s=0.2)


def test_a_client_that_sends_too_much_gets_its_rate_all_the_same(tmp_path: Path) -> None:
    rate, burst = 5, 10
    with limited(tmp_path, f"--rate-limit={rate}:{burst}") as made:
        began = time.monotonic()
        answered = sent = 0
        while answered < 3 * burst:
            sent += 1
            answered += made.ask().status == 200
        passed_s = time.monotonic() - began
    assert sent > 2 * answered, "the client sends more than it may"
    assert answered <= burst + rate * passed_s + 1
    assert answered >= rate * passed_s / 2, "less than its rate only where it waits for a processor"


def test_each_owner_of_a_key_has_a_rate_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "api-keys"
    folder.mkdir()
    for name, key in KEYS.items():
        (folder / name).write_text(f"{key}\n{key}-second")
    with limited(tmp_path, f"--api-keys={folder}", "--rate-limit=1:30") as made:
        assert [made.ask("no-key-of-a-client-0123").status for _ in range(9)] == [401] * 9, "nobody's requests"
        assert made.statuses(30, KEYS["team-a"]) == [200] * 30
        assert made.ask(KEYS["team-a"]).status == 429
        assert made.ask(f"{KEYS['team-a']}-second").status == 429, "the same client"
        assert made.call(METADATA, ("x-api-key", KEYS["team-a"])) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert made.call(METADATA, ("x-api-key", KEYS["team-b"])) is grpc.StatusCode.OK
        assert made.statuses(29, KEYS["team-b"]) == [200] * 29
        assert made.ask(KEYS["team-b"]).status == 429


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Limited]:
    folder = tmp_path / "api-keys"
    folder.mkdir()
    for name, key in KEYS.items():
        (folder / name).write_text(key)
    with limited(tmp_path, f"--api-keys={folder}") as made:
        yield made


def test_an_address_that_tries_many_keys_gets_429_for_them_and_refuses_no_client(keyed: Limited) -> None:
    stopped, codes, unknown = threading.Event(), list[tuple[int, str | None]](), "nobodys-key-0123456789"

    def guess() -> None:
        while not stopped.is_set():
            answer = keyed.ask(unknown)
            codes.append((answer.status, answer.headers.get("retry-after")))

    with ThreadPoolExecutor(8) as pool:
        guesses = [pool.submit(guess) for _ in range(8)]
        try:
            until(lambda: (429, "1") in codes, "too many")
            for key in KEYS.values():
                assert keyed.statuses(50, key) == [200] * 50, "a client that was not here before"
            assert keyed.statuses(20) == [401] * 20, "a request that tries no key"
            until(
                lambda: keyed.call(METADATA, ("x-api-key", unknown)) is grpc.StatusCode.RESOURCE_EXHAUSTED,
                "a call over the limit",
            )
        finally:
            stopped.set()
        for each in guesses:
            each.result()
    assert {status for status, _ in codes} == {401, 429}


def test_health_by_grpc_has_room_for_many_probes_behind_one_address(keyed: Limited) -> None:
    calls = access.HEALTH_CALLS_PER_S // 2
    with grpc.insecure_channel(keyed.gateway.url.removeprefix("http://")) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        asked = [check.future(b"", timeout=60) for _ in range(calls)]
        assert [call.code() for call in asked] == [grpc.StatusCode.OK] * calls
    assert keyed.statuses(5, KEYS["team-a"]) == [200] * 5
    assert keyed.ask(path="/v2/health/live").status == 200
