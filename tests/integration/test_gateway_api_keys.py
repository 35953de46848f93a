"""API keys at a real gateway: REST and gRPC, what stays open, changes of the files, and hostile requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.free_ports import free_port
from tests.support.gateway_process import Answer, Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_gateway.haproxy import access, config, process

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
KEY, OTHER = "team-a-key-0123456789", "team-b-key-0123456789"
HEALTH = "/grpc.health.v1.Health/Check"
LIVE = "/inference.GRPCInferenceService/ServerLive"
METADATA = "/inference.GRPCInferenceService/ServerMetadata"


@dataclass
class Guarded:
    """A gateway that requires a key, and one replica that repeats the headers of a request."""

    folder: Path
    gateway: Gateway
    replicas: Replicas
    internal: str

    def write(self, client: str, text: str) -> None:
        temporary = self.folder.parent / "new-key"
        temporary.write_text(text)
        temporary.replace(self.folder / client)

    def ask(self, *headers: tuple[str, str], path: str = "/v2/models/digits/infer", body: bytes = b"{}") -> Answer:
        """One request whose headers can repeat, in HTTP/1.1."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.data_port, timeout=250)
        try:
            connection.putrequest("POST" if body else "GET", path)
            for name, value in (*headers, ("content-length", str(len(body)))):
                connection.putheader(name, value)
            # What refuses the headers reads no body: it may have closed the connection before that is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode())
        finally:
            connection.close()

    def call(self, path: str, *metadata: tuple[str, str]) -> bytes:
        """A gRPC call with an empty message."""
        with grpc.insecure_channel(f"127.0.0.1:{self.gateway.data_port}") as channel:
            found: bytes = channel.unary_unary(path)(b"", timeout=20, metadata=metadata)
            return found

    def logs(self) -> str:
        folder = self.gateway.state_dir
        return "".join((folder / name).read_text() for name in ("agent.log", "haproxy.log", "keys.map"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("keys")
    folder = root / "api-keys"
    folder.mkdir()
    node, port = make_node(root / "node"), free_port()
    arguments = (
        f"--routes-file={root / 'gateway-routes.json'}",
        f"--api-keys={folder}",
        f"--internal-port={port}",
        "--allow-origin=https://app.example.org",
    )
    gateway = Gateway(root / "gateway", nodes=[node], arguments=arguments)
    replicas = Replicas(node)
    made = Guarded(folder, gateway, replicas, f"http://127.0.0.1:{port}")
    made.write("team-a", f"{KEY}\n")
    made.write("team-b", OTHER)
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision(aliases=("1",))}))
        gateway.wait_up("digits", A)
        yield made
    finally:
        gateway.stop()
        replicas.stop()


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", f"Bearer {KEY}"),
        ("Authorization", f"bearer {KEY}"),
        ("authorization", f"Bearer {OTHER}"),
        ("x-api-key", KEY),
        ("X-API-Key", OTHER),
    ],
)
def test_a_client_with_a_key_is_answered_and_the_replica_does_not_see_the_key(
    guarded: Guarded, header: tuple[str, str]
) -> None:
    answer = guarded.ask(header)
    assert answer.status == 200, answer.text
    assert answer.headers["x-fairlead-revision"] == A
    assert not {"authorization", "x-api-key"} & set(answer.json["names"])
    assert KEY not in answer.text + guarded.logs()


HOSTILE: dict[str, Sequence[tuple[str, str]]] = {
    "no key": (),
    "a wrong key": (("authorization", "Bearer " + "z" * 40),),
    "an empty key": (("authorization", "Bearer "),),
    "an empty header": (("x-api-key", ""),),
    "the key without a scheme": (("authorization", KEY),),
    "another scheme": (("authorization", f"Basic {KEY}"),),
    "a key with more behind it": (("authorization", f"Bearer {KEY}, Bearer {OTHER}"),),
    "more behind the key": (("authorization", f"Bearer {KEY} x"),),
    "two Authorization headers": (("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")),
    "a wrong one first": (("authorization", "Bearer x"), ("authorization", f"Bearer {KEY}")),
    "both headers": (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY)),
    "a second header that is empty": (("authorization", f"Bearer {KEY}"), ("x-api-key", "")),
    "many headers with keys": tuple(("x-api-key", KEY) for _ in range(60)),
    "names with underscores": (("x_api_key", KEY), ("authorization_", f"Bearer {KEY}")),
    "the name of a client": (("x-api-key", "team-a"),),
    "a name with a slash": (("x-api-key", "../team-a"),),
    "a very long key": (("authorization", "Bearer " + "k" * 30_000),),
    "a digest in place of a key": (("x-api-key", "A" * 64),),
    "what only a worker may say": (("x-fairlead-held", "1"),),
    "a forged copy": (("x-fairlead-shadow-copy", "1"), ("x-fairlead-revision", A)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_request_without_exactly_one_known_key_is_refused(guarded: Guarded, case: str) -> None:
    answer = guarded.ask(*HOSTILE[case])
    assert answer.status == 401, answer.text
    assert answer.headers["www-authenticate"] == 'Bearer realm="fairlead"'
    assert "send the header authorization: Bearer KEY, or x-api-key: KEY" in answer.json["error"]
    assert KEY not in answer.text


def test_headers_that_are_larger_than_the_gateway_takes_are_refused_before(guarded: Guarded) -> None:
    assert guarded.ask(("authorization", "Bearer " + "k" * 80_000)).status == 400
    assert guarded.ask(*(("x-api-key", KEY) for _ in range(150))).status == 400


@pytest.mark.parametrize("path", ["/v2/models/digits", "/v1/models/digits", "/v2", "/nothing", "/v2/repository/index"])
def test_everything_else_needs_a_key_too(guarded: Guarded, path: str) -> None:
    assert guarded.ask(path=path, body=b"").status == 401
    assert guarded.ask(("x-api-key", KEY), path=path, body=b"").status != 401


def test_an_explanation_needs_a_key_and_is_not_for_the_internal_port(guarded: Guarded) -> None:
    path = "/v2/models/digits/explain"
    assert guarded.ask(path=path).status == 401
    answer = guarded.ask(("x-api-key", KEY), path=path)
    assert (answer.status, answer.headers["x-fairlead-revision"]) == (200, A)
    assert fetch(f"{guarded.internal}{path}", body=b"{}", headers={"x-fairlead-revision": A}).status == 403


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_open(guarded: Guarded, path: str) -> None:
    until(lambda: guarded.ask(path=path, body=b"").status == 200, "200")


def test_grpc_is_refused_in_its_own_form_and_its_health_is_open(guarded: Guarded) -> None:
    for metadata in ((), (("x-api-key", "wrong-key-0123456789"),), (("x-api-key", KEY), ("authorization", KEY))):
        with pytest.raises(grpc.RpcError) as refused:
            guarded.call(METADATA, *metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "send the header authorization: Bearer KEY" in str(refused.value.details())
    for metadata in ((("authorization", f"Bearer {KEY}"),), (("x-api-key", KEY),)):
        assert b"fairlead" in guarded.call(METADATA, *metadata)
    assert guarded.call(LIVE) == b"\x08\x01"
    assert guarded.call(HEALTH) == b"\x08\x01"


def test_a_stream_without_a_key_is_refused_at_once(guarded: Guarded) -> None:
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with grpc.insecure_channel(f"127.0.0.1:{guarded.gateway.data_port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            next(channel.stream_stream(path)(iter([b"\x3a\x00"]), timeout=60))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_request_without_a_key_is_refused_before_its_body_has_come(guarded: Guarded) -> None:
    head = "POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\n{}content-length: 60000\r\n\r\n{{"
    for header, code in (
        ("", b"401"),
        ("x-api-key: nobodys-key-0123456789\r\n", b"401"),
        (f"x-api-key: {KEY}\r\n", b"408"),
    ):
        with socket.create_connection(("127.0.0.1", guarded.gateway.data_port), timeout=60) as sent:
            sent.sendall(head.format(header).encode())
            assert sent.recv(1 << 16).split(b" ")[1] == code, header


def test_a_call_without_a_key_is_refused_before_its_message_has_come(guarded: Guarded) -> None:
    ended = threading.Event()

    def messages() -> Iterator[bytes]:
        ended.wait(60)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{guarded.gateway.data_port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(METADATA)(messages(), timeout=50)
        ended.set()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_large_body_with_a_key_arrives_whole_and_one_without_gets_its_answer(guarded: Guarded) -> None:
    body = b"{" + b" " * 900_000 + b"}"
    assert guarded.ask(("x-api-key", KEY), body=body).json["received"] == len(body)
    assert guarded.ask(body=body).status == 401


def test_a_browser_asks_before_it_sends_the_key(guarded: Guarded) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.gateway.data_port, timeout=100)
    asked = {
        "origin": "https://app.example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    connection.request("OPTIONS", "/v2/models/digits/infer", headers=asked)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("access-control-allow-headers")) == (204, "authorization")
    connection.close()
    refused = guarded.ask(("origin", "https://app.example.org"))
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://app.example.org")


def test_the_operator_and_replicas_need_no_key_at_the_internal_port(guarded: Guarded) -> None:
    named = {"x-fairlead-revision": A}
    model = f"{guarded.internal}/v2/models/digits"
    assert fetch(f"{model}/proof", body=b"", headers=named).status == 200
    assert fetch(f"{model}/infer", body=b"{}", headers={**named, "x-fairlead-shadow-copy": "1"}).status == 200
    assert fetch(f"{model}/infer", body=b"{}", headers={"x-api-key": KEY}).status == 403


def test_a_request_that_is_hidden_behind_another_is_judged_by_itself(guarded: Guarded) -> None:
    """Two requests on one connection, and a body that looks like a request."""
    hidden = b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    with socket.create_connection(("127.0.0.1", guarded.gateway.data_port), timeout=100) as sent:
        head = f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\ncontent-length: 2\r\n\r\n{{}}"
        sent.sendall(head.encode() + hidden.replace(b"host: a\r\n", b"host: a\r\nconnection: close\r\n"))
        answers = b"".join(iter(lambda: sent.recv(1 << 16), b"")).decode()
    assert re.findall(r"HTTP/1\.1 (\d+) ", answers) == ["200", "401"]


def test_a_changed_secret_takes_effect_without_a_reload(guarded: Guarded) -> None:
    reloads = guarded.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    first, second = "first-key-0123456789", "second-key-0123456789"

    def status(key: str) -> int:
        return guarded.ask(("x-api-key", key)).status

    guarded.write("team-c", first)
    until(lambda: status(first) == 200, "a new client")
    guarded.write("team-c", f"{first}\n{second}\n")
    until(lambda: status(second) == 200, "a second key")
    assert status(first) == 200, "the one before is still taken"
    guarded.write("team-c", second)
    until(lambda: status(first) == 401, "the one before is gone")
    assert status(second) == 200
    (guarded.folder / "team-c").unlink()
    until(lambda: status(second) == 401, "the client is gone")
    assert status(KEY) == 200
    assert guarded.gateway.metric("fairlead_gateway_haproxy_reloads_total") == reloads
    assert guarded.gateway.metric("fairlead_gateway_requests_total", code="401", model="") > 0


def test_a_removed_key_is_refused_also_while_the_routes_cannot_be_applied(guarded: Guarded) -> None:
    """More revisions than the gateway has places for hold up the routes, and must hold up nothing else."""
    key = "a-key-that-is-taken-away"
    guarded.write("team-d", key)
    until(lambda: guarded.ask(("x-api-key", key)).status == 200, "the client is known")
    names = [f"{number:010x}" for number in range(32)]
    crowd = {f"m{number}": spec(names[0], {name: revision() for name in names}) for number in range(257)}
    try:
        guarded.gateway.route(**crowd)
        until(lambda: "routes not applied" in guarded.logs(), "the table is refused")
        (guarded.folder / "team-d").unlink()
        until(lambda: guarded.ask(("x-api-key", key)).status == 401, "the key is refused")
        assert guarded.ask(("x-api-key", KEY)).status == 200
    finally:
        guarded.gateway.forget(*crowd)


def test_an_entry_that_is_no_use_takes_nobody_elses_access(guarded: Guarded) -> None:
    guarded.write("team-d", "short")
    guarded.write("team-e", KEY)
    until(lambda: guarded.gateway.metric("fairlead_gateway_refused_api_keys") == 2, "both are reported")
    log = guarded.logs()
    assert "client='team-d' reason=each line must be a key of 20 to 512 ASCII characters" in log
    assert "client='team-e' reason=the client team-a has the same key" in log
    assert KEY not in log
    assert guarded.ask(("x-api-key", "short")).status == 401
    assert guarded.ask(("x-api-key", KEY)).status == 200
    for name in ("team-d", "team-e"):
        (guarded.folder / name).unlink()


def test_a_request_that_is_held_over_a_reload_is_not_refused(guarded: Guarded) -> None:
    hold = {"requests": 10, "seconds": 200, "parallel": 10, "idleSeconds": 1}
    others = {"digits": spec(A, {A: revision(aliases=("1",))})}
    guarded.gateway.apply(**others, cold=spec(A, {A: revision()}, hold=hold))
    with ThreadPoolExecutor() as pool:
        held = pool.submit(guarded.ask, ("x-api-key", KEY), path="/v2/models/cold/infer")

        def waiting() -> int:
            return int(guarded.gateway.routes().get("routes", {}).get("cold", {}).get("hold", {}).get("waiting", 0))

        until(lambda: waiting() == 1, "it is held")
        assert guarded.ask(path="/v2/models/cold/infer").status == 401, "nobody waits without a key"
        reloads = guarded.gateway.metric("fairlead_gateway_haproxy_reloads_total")
        longer = spec(A, {A: revision()}, hold=hold, requestTimeoutSeconds=300)
        guarded.gateway.apply(**others, cold=longer)
        until(lambda: guarded.gateway.metric("fairlead_gateway_haproxy_reloads_total") > reloads, "a reload")
        guarded.replicas.start("cold", A)
        answer = held.result()
    assert answer.status == 200, answer.text
    assert not {"authorization", "x-api-key", "x-fairlead-held"} & set(answer.json["names"])


@dataclass
class Opened:
    """A gateway whose agent was killed before it had any keys, so that its HAProxy lets in everybody."""

    gateway: Gateway
    folder: Path

    def start_with_keys(self) -> None:
        self.gateway.arguments = (*self.gateway.arguments, f"--api-keys={self.folder}")
        self.gateway.start()

    def status(self, **headers: str) -> int | None:
        """The status of an answer; None where nothing listens."""
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return fetch(f"{self.gateway.url}/v2/models/digits/infer", body=b"{}", headers=sent).status
        except OSError:
            return None

    def log(self) -> str:
        return (self.gateway.state_dir / "agent.log").read_text()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    node = make_node(tmp_path / "node")
    arguments = (f"--routes-file={tmp_path / 'gateway-routes.json'}", f"--internal-port={free_port()}")
    gateway, replicas = Gateway(tmp_path / "gateway", nodes=[node], arguments=arguments), Replicas(node)
    made = Opened(gateway, tmp_path / "api-keys")
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        gateway.kill_agent()
        assert made.status() == 200, "HAProxy outlives the agent"
        yield made
    finally:
        gateway.stop()
        replicas.stop()


def test_a_haproxy_that_asks_for_no_key_is_ended_where_the_keys_cannot_be_read(opened: Opened) -> None:
    opened.start_with_keys()
    until(lambda: opened.status() is None, "nobody is let in")
    assert not opened.gateway.is_ready()
    reason = "haproxy ended reason=it asks for no API key"
    until(lambda: reason in opened.log(), "the reason is logged", explain=opened.log)
    opened.folder.mkdir()
    (opened.folder / "team-a").write_text(KEY)
    until(opened.gateway.is_ready, "ready")
    assert opened.status() == 401
    until(lambda: opened.status(x_api_key=KEY) == 200, "the replica is checked")


def test_a_haproxy_that_asks_for_no_key_is_ended_where_the_routes_cannot_be_applied(opened: Opened) -> None:
    opened.folder.mkdir()
    (opened.folder / "team-a").write_text(KEY)
    names = [f"{number:010x}" for number in range(32)]
    too_many = spec(names[0], {name: revision() for name in names})
    opened.gateway.route(**{f"m{number}": too_many for number in range(257)})
    opened.start_with_keys()
    until(lambda: opened.status() is None, "nobody is let in")
    # The agent logs it once HAProxy has ended.
    until(lambda: "routes not applied" in opened.log(), "the reason is logged", explain=opened.log)


def test_a_haproxy_that_asks_for_no_key_gets_its_keys_by_a_reload_where_that_is_possible(opened: Opened) -> None:
    opened.folder.mkdir()
    (opened.folder / "team-a").write_text(KEY)
    opened.start_with_keys()
    until(lambda: opened.status() == 401, "a key is needed")
    assert opened.status(x_api_key=KEY) == 200
    assert "haproxy ended" not in opened.log()


def test_a_haproxy_that_asks_for_no_key_is_ended_where_no_routes_are_known(opened: Opened) -> None:
    (opened.gateway.state_dir / "table.json").unlink()
    (opened.gateway.state_dir.parent / "gateway-routes.json").write_text("no routes")
    opened.start_with_keys()
    until(lambda: opened.status() is None, "nobody is let in")


@pytest.mark.parametrize("file", [config.HOLD_FILE, process.RECORD_FILE, access.KEY_MAP])
def test_a_haproxy_that_asks_for_no_key_is_ended_where_the_agent_cannot_write(opened: Opened, file: str) -> None:
    """Such an agent ends at its start, or with the reload that would bring the keys."""
    opened.folder.mkdir()
    (opened.folder / "team-a").write_text(KEY)
    (opened.gateway.state_dir / f"{file}.new").mkdir()
    opened.start_with_keys()
    until(lambda: opened.status() is None, "nobody is let in")
    until(lambda: not opened.gateway.is_running(), "the agent ends")
    assert "IsADirectoryError" in opened.log()


def test_a_reload_and_a_restarted_agent_keep_the_keys(guarded: Guarded) -> None:
    slow: Any = spec(A, {A: revision(aliases=("1",))}, requestTimeoutSeconds=400)
    guarded.gateway.apply(digits=slow)
    until(lambda: guarded.gateway.metric("fairlead_gateway_haproxy_reloads_total") > 0, "a reload")
    assert guarded.ask(("x-api-key", KEY)).status == 200
    assert guarded.ask().status == 401
    guarded.gateway.kill_agent()
    moved = guarded.folder.rename(guarded.folder.with_name("away"))
    guarded.gateway.start()
    until(
        lambda: "no API keys" in json.dumps(guarded.gateway.routes()) or "api keys unreadable" in guarded.logs(), "log"
    )
    assert guarded.ask(("x-api-key", KEY)).status == 200, "HAProxy goes on with what it has"
    assert guarded.ask().status == 401
    moved.rename(guarded.folder)
    until(guarded.gateway.is_ready, "ready")
    assert guarded.ask(("x-api-key", KEY)).status == 200
