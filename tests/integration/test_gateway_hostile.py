"""What a hostile client, request or replica can do through the gateway: real agent, real HAProxy, odd replicas."""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.odd_replica import Act, OddReplica, answer, odd_replica
from tests.support.until import until

from fairlead_runtime.config import NodeEnvironment

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
PREDICT = "/v1/models/digits:predict"
TRAILERS = b"x-fairlead-shadow: 127.0.0.1:9/bbbbbbbbbb\r\ncontent-type: text/evil\r\nx-request-id: abc\r\n"


def in_chunks(body: bytes, trailers: bytes = TRAILERS, *, size: int = 4096, headers: bytes = b"") -> bytes:
    """A prediction whose body comes in chunks, with these trailers."""
    parts = (body[start : start + size] for start in range(0, len(body), size))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\n".encode() + headers + b"transfer-encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n" + trailers + b"\r\n"


def ask(port: int, raw: bytes) -> bytes:
    """One whole answer to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=100) as client:
        client.sendall(raw)
        data = b""
        while not is_whole(data):
            chunk = client.recv(1 << 16)
            if not chunk:
                break
            data += chunk
        return data


def is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and bool(lengths) and len(body) >= int(lengths[0])


@pytest.fixture
def node(tmp_path: Path) -> NodeEnvironment:
    return make_node(tmp_path / "node")


@pytest.fixture
def gateway(tmp_path: Path, node: NodeEnvironment) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway", nodes=[node])
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def one_replica(gateway: Gateway, act: Act | None = None) -> Iterator[OddReplica]:
    """The model `digits` with one odd replica that is up; by default one that answers `{}`."""
    node = gateway.nodes[0]
    with odd_replica(act or (lambda _: answer()), node=node) as replica:
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        yield replica


@pytest.mark.parametrize("size", [1, 100, 4096])
def test_trailers_never_reach_a_replica(gateway: Gateway, size: int) -> None:
    with one_replica(gateway) as replica:
        for length in (0, 5, 20_000):
            found = ask(gateway.data_port, in_chunks(b"h" * length, size=size))
            assert found.startswith(b"HTTP/1.1 200 "), found
            head, _, body = replica.requests[-1].partition(b"\r\n\r\n")
            assert body == b"h" * length
            assert b"evil" not in replica.requests[-1]
            assert b"x-fairlead-shadow" not in replica.requests[-1]
            assert f"content-length: {length}".encode() in head.lower()
            assert b"transfer-encoding" not in head.lower()


def http2_request(body: bytes, *extra: tuple[str, str]) -> bytes:
    """The same prediction over HTTP/2 with prior knowledge, with trailers. Source: RFC 9113, 4.1; RFC 7541, 6.2.2"""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

    def fields(*pairs: tuple[str, str]) -> bytes:
        return b"".join(
            b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode() for name, value in pairs
        )

    head = ((":method", "POST"), (":scheme", "http"), (":path", PREDICT), (":authority", "a"), *extra)
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")
        + frame(1, 4, 1, fields(*head))
        + frame(0, 0, 1, body)
        + frame(1, 5, 1, fields(("x-fairlead-shadow", "evil"), ("content-type", "text/evil")))
    )


@pytest.mark.parametrize("extra", [(), (("content-length", "5"),)])
def test_trailers_of_http_2_never_reach_a_replica(gateway: Gateway, extra: tuple[tuple[str, str], ...]) -> None:
    with one_replica(gateway) as replica:
        with socket.create_connection(("127.0.0.1", gateway.data_port), timeout=100) as client:
            client.sendall(http2_request(b"hello", *extra))
            until(lambda: replica.requests, "the replica has the request")

        head, _, body = replica.requests[-1].partition(b"\r\n\r\n")
        assert body == b"hello"
        assert b"content-length: 5" in head.lower()
        assert b"evil" not in replica.requests[-1]


@pytest.mark.parametrize("length", [40_000, 200_000])
def test_a_long_chunked_body_is_refused_with_the_expected_form(gateway: Gateway, length: int) -> None:
    with one_replica(gateway) as replica:
        found = ask(gateway.data_port, in_chunks(b"h" * length))

        assert found.startswith(b"HTTP/1.1 411 ")
        assert b"content-length" in found.partition(b"\r\n\r\n")[2]
        assert replica.requests == []


def test_a_body_in_chunks_has_the_same_limit_as_any_other(gateway: Gateway) -> None:
    with one_replica(gateway):
        gateway.apply(digits=spec(A, {A: revision()}, maxRequestBytes=100))
        gateway.wait_up("digits", A)

        assert ask(gateway.data_port, in_chunks(b"h" * 100)).startswith(b"HTTP/1.1 200 ")
        assert ask(gateway.data_port, in_chunks(b"h" * 101)).startswith(b"HTTP/1.1 413 ")


def test_a_shadow_mark_in_a_trailer_makes_a_replica_send_nothing(gateway: Gateway) -> None:
    setting = replica_parts.Setting(node=gateway.nodes[0])
    with socket.create_server(("127.0.0.1", 0)) as victim, replica_parts.running(setting) as replica:
        name = replica_parts.REVISION
        gateway.apply(digits=spec(name, {name: revision()}))
        gateway.wait_up("digits", name)
        mark = f"x-fairlead-shadow: 127.0.0.1:{victim.getsockname()[1]}/bbbbbbbbbb\r\n".encode()

        found = ask(gateway.data_port, in_chunks(b'{"instances":[[1,2,3,4]]}', mark))

        assert found.startswith(b"HTTP/1.1 200 ")
        # A copy is queued before the next request on the replica is answered: none is counted, so none is under way.
        counts = fetch(f"http://127.0.0.1:{replica.port}/-/measurements/{setting.name}").json
        assert counts["shadow"] == {}
        victim.settimeout(0.5)
        with pytest.raises(TimeoutError):
            victim.accept()


def answer_unless(poison: bytes, request: bytes) -> bytes | None:
    """What the replica answers; None ends it."""
    return None if poison in request else answer()


def test_a_request_that_ends_its_replica_is_repeated_once_and_counted(gateway: Gateway) -> None:
    count = 4
    with contextlib.ExitStack() as stack:
        act = functools.partial(answer_unless, b"poison")
        replicas = [stack.enter_context(odd_replica(act, node=gateway.nodes[0])) for _ in range(count)]
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A, count)

        found = fetch(gateway.url + PREDICT, body=b"poison")

        assert (found.status, list(found.json)) == (502, ["error"])
        assert sum(len(each.requests) for each in replicas) == 2
        assert fetch(gateway.url + PREDICT, body=b"good").status == 200
    name = "fairlead_gateway_empty_answers_total"
    until(lambda: gateway.metric(name, model="digits", revision=A) == 1, "the empty answer is counted")


def test_a_request_larger_than_the_gateways_buffer_is_not_repeated_and_gets_an_answer(gateway: Gateway) -> None:
    """HAProxy repeats what it still has whole: 64 KiB."""
    with contextlib.ExitStack() as stack:
        act = functools.partial(answer_unless, b"poison")
        replicas = [stack.enter_context(odd_replica(act, node=gateway.nodes[0])) for _ in range(2)]
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A, 2)

        found = fetch(gateway.url + PREDICT, body=b"poison" + b" " * 100_000)

        assert (found.status, list(found.json)) == (502, ["error"])
        assert sum(len(each.requests) for each in replicas) == 1
        assert fetch(gateway.url + PREDICT, body=b"good" + b" " * 100_000).status == 200


def test_the_request_of_a_disconnected_client_is_cancelled_at_the_replica(gateway: Gateway) -> None:
    gone = threading.Event()

    def act(_: bytes) -> bytes | None:
        # Answers nothing before the test is over: only the gateway can end the connection.
        gone.wait(120)
        return None

    with one_replica(gateway, act) as replica:
        raw = f"POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        with socket.create_connection(("127.0.0.1", gateway.data_port), timeout=100) as client:
            client.sendall(raw)
            until(lambda: replica.requests, "the replica has the request")
            assert replica.is_connected()
        try:
            until(lambda: not replica.is_connected(), "the gateway closes the replica's connection", deadline_s=400)
        finally:
            gone.set()
    until(lambda: gateway.measurements("digits")["revisions"][A]["requests"]["aborted"] == 1, "it is counted")
    assert gateway.measurements("digits")["revisions"][A]["requests"]["serverErrors"] == 0


@pytest.mark.parametrize(
    "path", ["/v2/models/digits/%66eedback", "/v2/models/%64igits/infer", "/v1/models/digits%3Apredict"]
)
def test_a_path_that_a_replica_would_read_differently_is_refused(gateway: Gateway, path: str) -> None:
    with one_replica(gateway) as replica:
        found = fetch(gateway.url + path, body=b"{}")

        assert (found.status, replica.requests) == (400, [])
        assert "percent" in found.json["error"]


ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + b" " * (8 << 20)
ZIPPED = gzip.compress(b" " * (64 << 20))
ODD_MEASUREMENTS = [
    answer(b'{"instance":"a","scores":{"bounds":[1.0],"counts":[]}}'),
    answer(b'{"instance":"a","scores":{"bounds":[1.0],"counts":[0,0]}}'),
    answer(b'{"instance":"a","scores":{"bounds":[],"counts":[1]}}'),
    answer(b'{"instance":"a","ageSeconds":1e999}'),
    answer(b"[" * 100_000),
    answer(b"\xff\xfe"),
    answer(b'{"instance":"' + b"x" * 200_000 + b'"}'),
    answer(b'{"instance":"a","shadow":{"' + A.encode() + b'":{"pairs":' + b"9" * 4000 + b"}}}"),
    ENDLESS,
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED,
    b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    b"nonsense\r\n\r\n",
]


def test_no_answer_of_a_replica_ends_the_agent_or_affects_another_replica(gateway: Gateway) -> None:
    bodies = iter(ODD_MEASUREMENTS * 2)

    def invalid(request: bytes) -> bytes | None:
        return next(bodies, None) if b"/-/measurements" in request else answer()

    seen = itertools.count(1)

    def good(request: bytes) -> bytes | None:
        body = b'{"instance":"b","ageSeconds":0,"feedback":{"%s":{"labelled":%d,"correct":0}}}'
        return answer(body % (B.encode(), next(seen)) if b"/-/measurements" in request else b"{}")

    node = gateway.nodes[0]
    with odd_replica(invalid, node=node) as first, odd_replica(good, node=node, revision=B):
        gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B))
        gateway.wait_up("digits", A)
        gateway.wait_up("digits", B)

        until(lambda: len(first.requests) > 2 * len(ODD_MEASUREMENTS), "all were sent")
        labelled = gateway.measurements("digits")["revisions"][B]["feedback"]["labelled"]
        until(
            lambda: gateway.measurements("digits")["revisions"][B]["feedback"]["labelled"] > labelled,
            "the other replica is still read",
        )
    assert gateway.is_running()
    assert gateway.measurements("digits")["revisions"][A]["shadow"]["pairs"] == 0
    assert gateway.metric("fairlead_gateway_unreadable_measurements_total") >= len(ODD_MEASUREMENTS) - 2
