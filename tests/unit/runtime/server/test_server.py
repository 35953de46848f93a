"""The server over real sockets: order, limits, timeouts, drain, and that nothing a client sends brings it down."""

from __future__ import annotations

import asyncio
import email.utils
import random
import socket
import threading
import time
import types
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from tests.support.replica_parts import (
    NAME,
    REVISION,
    DoublingModel,
    Running,
    Setting,
    post,
    read_all,
    running,
    wait_until,
)

from fairlead_runtime.errors import LoadError
from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.server import listener
from fairlead_runtime.server import thread as server_thread
from fairlead_runtime.server.limits import ServerLimits

PREDICT = "/v1/models/digits:predict"
ROW = {"instances": [[1, 2, 3, 4]]}
HEALTH = f"GET /-/healthz/{NAME} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
WORKER_CALL_S = 0.01
TURN_CALL_S = 0.0005


@pytest.fixture(scope="module")
def replica() -> Iterator[Running]:
    with running() as started:
        yield started


def statuses(raw: bytes) -> list[int]:
    """The status codes of the answers in `raw`; our bodies never hold a status line."""
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


def keep_alive(path: str, body: object) -> bytes:
    raw = orjson.dumps(body)
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw


def test_a_prediction_over_a_socket(replica: Running) -> None:
    raw = replica.send(post(PREDICT, ROW))
    assert statuses(raw) == [200]
    assert raw.endswith(b'{"predictions":[[2.0,4.0,6.0,8.0]]}')
    assert f"x-fairlead-revision: {REVISION}".encode() in raw


def test_pipelined_requests_are_answered_in_order(replica: Running) -> None:
    bodies = [{"instances": [[i, 0, 0, 0]]} for i in range(200)]
    raw = replica.send(b"".join(keep_alive(PREDICT, body) for body in bodies))
    assert statuses(raw) == [200] * 200
    assert [f"[[{2.0 * i}," in part.decode() for i, part in enumerate(raw.split(b"HTTP/1.1 ")[1:])] == [True] * 200


@pytest.mark.parametrize("call_s", [TURN_CALL_S, WORKER_CALL_S], ids=["per turn", "on a thread"])
def test_pipelined_requests_keep_their_order_when_answers_take_time(call_s: float) -> None:
    with running(Setting(call_s=call_s)) as slow:
        raw = slow.send(b"".join(keep_alive(PREDICT, {"instances": [[i, 0, 0, 0]]}) for i in range(100)))
        assert [f"[[{2.0 * i}," in part.decode() for i, part in enumerate(raw.split(b"HTTP/1.1 ")[1:])] == [True] * 100
        assert slow.parts.shared.in_flight == 0


def test_a_request_may_come_byte_by_byte(replica: Running) -> None:
    with replica.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(PREDICT, ROW):
            client.sendall(bytes([byte]))
        assert statuses(read_all(client)) == [200]


def test_a_head_gets_no_body(replica: Running) -> None:
    raw = replica.send(b"HEAD /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert statuses(raw) == [200]
    assert raw.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_and_closed(replica: Running) -> None:
    with replica.connect() as client:
        client.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
        raw = read_all(client)
    assert statuses(raw) == [200]
    assert b"connection: close" in raw


def test_a_chunked_body_is_taken(replica: Running) -> None:
    body = orjson.dumps(ROW)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 5]), body[i : i + 5]) for i in range(0, len(body), 5))
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    assert statuses(replica.send(head + chunks + b"0\r\n\r\n")) == [200]


def test_a_client_that_expects_100_continue_gets_it(replica: Running) -> None:
    body = orjson.dumps(ROW)
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
    with replica.connect() as client:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert statuses(read_all(client)) == [200]


def test_a_too_large_content_length_is_refused_before_the_body(replica: Running) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 999999999\r\n\r\n"
    with replica.connect() as client:
        client.sendall(head.encode())
        assert statuses(read_all(client)) == [413]


def test_a_chunked_body_without_end_is_cut_off_with_413_while_the_client_still_sends(replica: Running) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with replica.connect() as client:
        client.sendall(head)
        received = b""
        try:
            for _ in range(64):
                client.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = read_all(client)
    assert statuses(received) == [413]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"GET /v2 HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400, id="header without colon"),
        pytest.param(b"POST /v2 HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\ncontent-length: 8\r\n\r\n", 400, id="two lengths"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="length and chunks (smuggling)",
        ),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, id="long URL"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: " + b"x" * 40000 + b"\r\n\r\n", 431, id="a large header"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: " + b"x" * 2_000_000, 431, id="a header without end"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: tea\r\ncontent-length: 1\r\n\r\n1", 417, id="expectation"),
        pytest.param(b"GET /v2 HTTP/1.1\r\nhost: x\r\nHost: y\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", 400, id="a proxy's method"),
        pytest.param(b"GET /%2fv2 HTTP/1.1\r\nhost: x\r\n\r\n", 404, id="escaped slash"),
    ],
)
def test_invalid_requests_get_an_error_and_the_connection_closes(replica: Running, raw: bytes, status: int) -> None:
    with replica.connect() as client:
        try:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        got = statuses(read_all(client))
    assert got == [status]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://x/v2", 200),
        (b"http://x:80/v2?a=http://y/", 200),
        (b"HTTPS://x/v2x", 404),
        (b"http://x", 404),
        (b"*", 404),
    ],
)
def test_a_target_may_be_in_absolute_form(replica: Running, target: bytes, status: int) -> None:
    assert statuses(replica.send(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % target)) == [status]


def test_answers_have_a_date_and_a_405_lists_the_allowed_methods(replica: Running) -> None:
    raw = replica.send(b"PUT /v2/models/digits HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    assert statuses(raw) == [405]
    headers = dict(line.split(b": ", 1) for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    assert headers[b"allow"] == b"GET, HEAD"
    assert email.utils.parsedate_to_datetime(headers[b"date"].decode()).tzinfo is not None


def test_health_checks_do_not_count_in_the_prediction_durations() -> None:
    with running() as replica:
        for _ in range(3):
            replica.send(HEALTH)
        assert replica.parts.metrics.latency.buckets()[0][-1][1] == 0
        replica.send(post(PREDICT, ROW))
        wait_until(lambda: replica.parts.metrics.latency.buckets()[0][-1][1] == 1)


@pytest.mark.parametrize("token", [b"h2c", b"websocket", b"foo/1"])
@pytest.mark.parametrize("size", [1, 10, 100_000], ids=["byte by byte", "in pieces", "at once"])
def test_a_request_to_upgrade_the_protocol_is_answered_as_http_1_1(replica: Running, token: bytes, size: int) -> None:
    """As Java's client sends it. The body is ours, and so are the requests behind it."""
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %s\r\nhttp2-settings: AAMAAABk\r\n" % token
    asked = keep_alive(PREDICT, ROW).replace(b"\r\nhost:", b"\r\n" + upgrade + b"host:", 1)
    body = orjson.dumps(ROW)
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n".encode() + upgrade + b"\r\n"
    chunked = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    bare = b"GET /v2 HTTP/1.1\r\nhost: x\r\n" + upgrade + b"\r\n"
    last = bare.replace(b"Upgrade,", b"close, Upgrade,")
    stream = asked + chunked + bare + asked + last + keep_alive(PREDICT, ROW)
    with replica.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(stream), size):
            client.sendall(stream[at : at + size])
        raw = read_all(client)
    assert statuses(raw) == [200] * 5
    assert raw.count(b'{"predictions":[[2.0,4.0,6.0,8.0]]}') == 3


def test_slow_heads_and_bodies_get_408_and_idle_connections_close() -> None:
    slow = ServerLimits(body_bytes_max=1000, head_timeout_s=0.1, body_timeout_s=0.1, idle_timeout_s=60)
    with running(Setting(limits=slow)) as quick:
        for raw in (b"GET /v2 HT", f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1".encode()):
            assert any(answered_and_closed(quick, raw) == [408] for _ in range(20))
    idle = ServerLimits(body_bytes_max=1000, idle_timeout_s=0.1)
    with running(Setting(limits=idle)) as quick:
        with quick.connect() as client:
            assert read_all(client) == b""
        # On a busy machine a connection may be idle for longer before its request is sent.
        assert any(answered_and_closed(quick) == [200] for _ in range(20))


def answered_and_closed(server: Running, raw: bytes = HEALTH) -> list[int]:
    """The statuses of a request on a connection that the server closes; none where it was closed before the request."""
    with server.connect() as client:
        try:
            client.sendall(raw)
            return statuses(read_all(client))
        except ConnectionError:
            return []


def test_a_second_slow_request_on_a_connection_gets_408_too() -> None:
    limits = ServerLimits(body_bytes_max=1000, head_timeout_s=0.1, idle_timeout_s=60)
    with running(Setting(limits=limits)) as quick:
        # On a busy machine the first one may come too late as well.
        assert any(answered_and_closed(quick, HEALTH + b"GET /v2 HT") == [200, 408] for _ in range(20))


def test_requests_beyond_running_and_queue_get_503_with_retry_after() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S, ongoing_max=1, queued_max=2)) as full:
        clients = [full.connect() for _ in range(3)]
        for client in clients:
            client.sendall(post(PREDICT, ROW))
        wait_until(lambda: full.parts.plane.pending == 3)
        raw = full.send(post(PREDICT, ROW))
        assert statuses(raw) == [503]
        assert b"retry-after: 1" in raw
        assert statuses(full.send(HEALTH)) == [200]
        assert model.gate is not None
        model.gate.set()
        assert [statuses(read_all(client)) for client in clients] == [[200]] * 3
        for client in clients:
            client.close()


def test_a_prediction_that_takes_too_long_gets_504_and_the_next_is_answered() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S, timeout_s=2.0)) as slow:
        assert statuses(slow.send(post(PREDICT, ROW))) == [504]
        assert model.gate is not None
        model.gate.set()
        assert statuses(slow.send(post(PREDICT, ROW))) == [200]
        assert slow.parts.plane.pending == 0


def test_a_disconnected_client_frees_its_place_and_its_call() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy:
        first = busy.connect()
        first.sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        gone = busy.connect()
        gone.sendall(post(PREDICT, ROW))
        wait_until(lambda: busy.parts.plane.pending == 2)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()
        wait_until(lambda: busy.parts.plane.pending == 1)
        assert model.gate is not None
        model.gate.set()
        assert statuses(read_all(first)) == [200]
        first.close()
        wait_until(lambda: busy.parts.shared.in_flight == 0)
        assert model.rows == [1]


@pytest.mark.parametrize("body_bytes", [0, 40_000], ids=["small", "decoded beside the loop"])
def test_requests_of_a_client_that_closes_are_cancelled(body_bytes: int) -> None:
    """A plain close, which the server can't tell from a client that only ends its side."""
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy, busy.connect() as first:
        first.sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        for _ in range(20):
            with busy.connect() as client:
                client.sendall(post(PREDICT, orjson.dumps(ROW) + b" " * body_bytes))
                wait_until(lambda: busy.parts.shared.in_flight == 2)
            wait_until(lambda: busy.parts.shared.in_flight == 1)
        assert busy.parts.metrics.abandoned == 20
        wait_until(lambda: busy.parts.plane.pending == 1)
        assert model.gate is not None
        model.gate.set()
        assert statuses(read_all(first)) == [200]
        wait_until(lambda: busy.parts.plane.queued == 0)
        assert model.rows == [1]


def test_pipelined_requests_of_a_disconnected_client_are_not_started() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy:
        with busy.connect() as client:
            client.sendall(keep_alive(PREDICT, ROW) * 10)
            assert model.begun.wait(100)
        wait_until(lambda: busy.parts.shared.in_flight == 0)
        assert model.gate is not None
        model.gate.set()
        assert statuses(busy.send(post(PREDICT, ROW))) == [200]
        assert model.rows == [1, 1]


def test_requests_queued_during_a_call_share_the_next_call() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy:
        clients = [busy.connect() for _ in range(9)]
        clients[0].sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        for i, client in enumerate(clients[1:]):
            client.sendall(post(PREDICT, {"instances": [[i, 0, 0, 0], [i, 1, 1, 1]]}))
        wait_until(lambda: busy.parts.plane.queued == 8)
        assert model.gate is not None
        model.gate.set()
        for i, client in enumerate(clients[1:]):
            assert read_all(client).endswith(
                f'{{"predictions":[[{2.0 * i},0.0,0.0,0.0],[{2.0 * i},2.0,2.0,2.0]]}}'.encode()
            )
        for client in clients:
            client.close()
        assert model.rows == [1, 16]


def test_one_bad_request_in_a_shared_call_does_not_fail_its_neighbours() -> None:
    gate = threading.Event()

    def model(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        gate.wait(200)
        if (inputs[0] == 13).any():
            raise RuntimeError("13 is unlucky")
        return (inputs[0] * 2,)

    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy:
        clients = [busy.connect() for _ in range(4)]
        for i, client in enumerate(clients):
            client.sendall(post(PREDICT, {"instances": [[13 if i == 2 else 1, 0, 0, 0]]}))
        wait_until(lambda: busy.parts.plane.pending == 4)
        gate.set()
        assert [statuses(read_all(client)) for client in clients] == [[200], [200], [500], [200]]
        for client in clients:
            client.close()


def test_health_is_answered_while_the_model_computes() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as busy, busy.connect() as client:
        client.sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        assert statuses(busy.send(HEALTH)) == [200]
        assert model.gate is not None
        model.gate.set()


def test_health_says_so_when_a_call_of_the_model_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_runtime.inference.dataplane.CALL_S_MAX", 0)
    model = DoublingModel(gate=threading.Event())
    # Time enough for the call to begin: what has not begun at the deadline is never called.
    with running(Setting(model=model, call_s=WORKER_CALL_S, timeout_s=1.0)) as stuck:
        assert statuses(stuck.send(HEALTH)) == [200]
        assert statuses(stuck.send(post(PREDICT, ROW))) == [504]
        wait_until(lambda: statuses(stuck.send(HEALTH)) == [503])
        assert b"has not returned" in stuck.send(HEALTH)
        assert model.gate is not None
        model.gate.set()
        wait_until(lambda: statuses(stuck.send(HEALTH)) == [200])


def test_a_draining_server_answers_requests_before_it_closes_the_port() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as leaving:
        inside, idle = leaving.connect(), leaving.connect()
        idle.sendall(HEALTH)
        assert statuses(idle.recv(4096)) == [200]
        inside.sendall(keep_alive(PREDICT, ROW))
        assert model.begun.wait(100)
        leaving.parts.plane.phase = Phase.DRAINING
        drained = threading.Thread(target=leaving.server.drain, kwargs={"timeout_s": 30})
        started_s = time.monotonic()
        drained.start()
        wait_until(lambda: leaving.parts.shared.is_draining)
        raw = leaving.send(HEALTH)
        assert statuses(raw) == [404]
        assert b"connection: close" in raw
        assert model.gate is not None
        model.gate.set()
        raw = read_all(inside)
        assert statuses(raw) == [200]
        assert b"connection: close" in raw
        drained.join(100)
        assert time.monotonic() - started_s >= 1.0
        assert read_all(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            leaving.connect()
        inside.close()
        idle.close()


def test_a_drain_ends_at_its_deadline_even_if_a_call_does_not() -> None:
    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as stuck, stuck.connect() as client:
        client.sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        stuck.server.drain(timeout_s=0.2)
        assert not stuck.server.is_alive()
        assert model.gate is not None
        model.gate.set()


class _Breaking:
    """A connection whose check fails in the loop of the server, as a fault of the server itself would."""

    def check_time(self, _now_s: float) -> None:
        raise RuntimeError("a fault of the server")

    def abort(self) -> None:
        """There is nothing to end."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_drain_says_so_where_the_server_s_thread_ends_meanwhile() -> None:
    raised: list[BaseException] = []

    def drain(server: server_thread.ServerThread) -> None:
        try:
            server.drain(timeout_s=600)
        except server_thread.ThreadEndedError as error:
            raised.append(error)

    model = DoublingModel(gate=threading.Event())
    with running(Setting(model=model, call_s=WORKER_CALL_S)) as replica, replica.connect() as client:
        client.sendall(post(PREDICT, ROW))
        assert model.begun.wait(100)
        # It waits for the prediction, which does not end.
        draining = threading.Thread(target=drain, args=(replica.server,), daemon=True)
        draining.start()
        shared = replica.parts.shared
        wait_until(lambda: shared.is_draining)
        replica.server.run(lambda: shared.connections.add(_Breaking()))
        draining.join(100)
        has_ended = not draining.is_alive()
        assert read_all(client) == b"", "the client doesn't wait for an answer that nobody gives"
        with pytest.raises(server_thread.ThreadEndedError):
            replica.server.run(shared.connections.clear)
        assert model.gate is not None
        model.gate.set()
    assert has_ended
    assert [str(error.__cause__) for error in raised] == ["a fault of the server"]


def test_what_a_stopped_server_still_sends_is_sent_side_by_side() -> None:
    """A sink and a collector that both hang take the time of the slower one, not the sum."""
    begun = (asyncio.Event(), asyncio.Event())

    async def finish_first() -> None:
        begun[0].set()
        await begun[1].wait()

    async def finish_second() -> None:
        begun[1].set()
        await begun[0].wait()

    with running() as replica:
        replica.parts.shared.finish = (finish_first, finish_second)
        replica.server.drain(timeout_s=5)
        assert not replica.server.is_alive()


def test_two_replicas_never_get_the_same_port() -> None:
    bound = [listener.bind_free_port("127.0.0.1") for _ in range(50)]
    try:
        assert len({each.getsockname()[1] for each in bound}) == 50
    finally:
        for each in bound:
            each.close()


def test_an_address_that_the_node_does_not_have_is_named() -> None:
    with pytest.raises(LoadError, match=r"fairlead: CannotListen: no port of FAIRLEAD_REPLICA_HOST, 192\.0\.2\.1,"):
        listener.bind_free_port("192.0.2.1")


def test_thousands_of_broken_requests_get_4xx_and_the_replica_lives(replica: Running) -> None:
    dice = random.Random(4)
    good = post(PREDICT, ROW)
    seen: dict[int, int] = {}
    for _ in range(3000):
        for status in statuses(replica.send_and_end(_broken(good, dice))):
            seen[status] = seen.get(status, 0) + 1
    # A broken byte may leave a request whole: those are answered. Nothing is the server's own fault.
    assert all(status == 200 or 400 <= status < 500 for status in seen), seen
    assert sum(count for status, count in seen.items() if status != 200) > 1500, seen
    assert statuses(replica.send(good)) == [200]
    wait_until(lambda: replica.parts.shared.in_flight == 0)


def _broken(good: bytes, dice: random.Random) -> bytes:
    raw = bytearray(good)
    match dice.randrange(6):
        case 0:
            del raw[dice.randrange(len(raw)) :]
        case 1:
            for _ in range(dice.randrange(1, 6)):
                raw[dice.randrange(len(raw))] = dice.randrange(256)
        case 2:
            at = dice.randrange(len(raw))
            raw[at:at] = dice.randbytes(dice.randrange(1, 30))
        case 3:
            raw = bytearray(dice.randbytes(dice.randrange(1, 300)))
        case 4:
            body = dice.choice(
                [b"null", b'{"instances":[[1,2,3]]}', b'{"instances":"\xff"}', b"[" * 2000, b'{"inputs":{}}']
            )
            raw = bytearray(post(dice.choice([PREDICT, "/v2/models/digits/infer"]), body))
        case _:
            start = dice.randrange(len(raw))
            del raw[start : start + dice.randrange(1, 20)]
    return bytes(raw)


def meant_for(name: str, raw: bytes) -> bytes:
    return raw.replace(b"host: x\r\n", f"host: x\r\nx-fairlead-replica: {name}\r\n".encode(), 1)


def test_a_request_for_another_replica_gets_425_before_its_body_is_read(replica: Running) -> None:
    other = f"{REVISION}-ffffffffffffffff"
    assert statuses(replica.send(meant_for(NAME, post(PREDICT, ROW)))) == [200]
    calls = replica.parts.metrics.batch_rows.buckets()
    for body in (ROW, b"no JSON", b"x" * 200_000):
        raw = replica.send(meant_for(other, post(PREDICT, body)))
        assert statuses(raw) == [425]
        assert b"connection: close" in raw
    expecting = (
        b"POST /v1/models/digits:predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    )
    assert statuses(replica.send(meant_for(other, expecting))) == [425]
    assert replica.parts.metrics.batch_rows.buckets() == calls


def test_a_draining_replica_listens_while_predictions_still_come_and_closes_once_they_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(server_thread, "DRAIN_LISTENS_S", 1e6)
    monkeypatch.setattr(server_thread, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    with running() as draining:
        thread = threading.Thread(target=draining.server.drain, kwargs={"timeout_s": 1e6})
        thread.start()
        wait_until(lambda: draining.parts.shared.is_draining)
        # As from a gateway that has not seen the drain: for longer than the quiet time.
        for _ in range(4):
            assert statuses(draining.send(post(PREDICT, ROW))) == [200]
            now[0] += 0.9 * server_thread.DRAIN_QUIET_S
        assert draining.server.is_alive()

        def closes_after_time() -> bool:
            now[0] += 0.1
            return not _accepts(draining)

        wait_until(closes_after_time)
        now[0] += 5  # the moment that connections get to go by themselves
        thread.join(timeout=100)
        assert not draining.server.is_alive()


def _accepts(replica: Running) -> bool:
    try:
        replica.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_busy_draining_replica_stops_listening_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_thread, "DRAIN_LISTENS_S", 0.3)
    with running() as draining:
        thread = threading.Thread(target=draining.server.drain, kwargs={"timeout_s": 30})
        thread.start()
        while draining.server.is_alive():
            try:
                raw = draining.send(post(PREDICT, ROW))
            except ConnectionRefusedError:
                break
            except ConnectionError:
                continue
            # What was accepted is answered; what the closing port resets was not begun, and is for another replica.
            assert statuses(raw) in ([200], [])
        thread.join()
        assert not draining.server.is_alive()


def test_health_checks_do_not_keep_a_draining_replica_waiting() -> None:
    with running() as draining:
        draining.parts.plane.phase = Phase.DRAINING
        thread = threading.Thread(target=draining.server.drain, kwargs={"timeout_s": 30})
        thread.start()
        while thread.is_alive():
            try:
                assert statuses(draining.send(HEALTH)) in ([404], [])
            except ConnectionError:
                break
        thread.join(timeout=100)
        assert not thread.is_alive()
