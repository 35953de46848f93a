"""A node's well-known address with real sockets and processes: every living process answers for all of them."""

from __future__ import annotations

import concurrent.futures
import http.client
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import node_members
from tests.support.node_members import ask, replica
from tests.support.replica_parts import read_all, wait_until

from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.discovery import listener, request
from fairlead_runtime.discovery.member import Member
from fairlead_runtime.errors import LoadError


@pytest.fixture
def node(tmp_path: Path) -> NodeEnvironment:
    return node_members.node(tmp_path)


@pytest.fixture
def joined(node: NodeEnvironment) -> Iterator[Member]:
    made = Member(node)
    made.announce(replica())
    yield made
    made.leave()


def raw(node: NodeEnvironment, sent: bytes) -> bytes:
    with socket.create_connection((node.directory_host, node.directory_port), timeout=100) as client:
        client.sendall(sent)
        return read_all(client)


def test_an_answer_lists_the_node_under_its_clusters_name(node: NodeEnvironment, joined: Member) -> None:
    found = ask(node)
    assert found.cluster == "default/default"
    assert found.replicas == (
        {
            "name": "3f0c9a1b2d-0000000000000000",
            "namespace": "default",
            "model": "digits",
            "revision": "3f0c9a1b2d",
            "port": 40000,
            "state": "Ready",
        },
    )
    assert ask(node).version == found.version


def test_a_poll_waits_for_a_change_and_returns_it(node: NodeEnvironment, joined: Member) -> None:
    before = ask(node)
    assert ask(node, f"?since={before.version}").status == 304
    assert ask(node, f"?since={before.version}&wait=0.05").status == 304
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for change in (joined.drain, lambda: _join(node, 7)):
            version = ask(node).version
            held = pool.submit(ask, node, f"?since={version}&wait=5")
            change()
            assert held.result().version not in ("", version)
    # An older version is answered at once.
    assert ask(node, f"?since={before.version}&wait=5").states == {replica().name: "Draining", replica(7).name: "Ready"}
    _JOINED.pop().leave()


_JOINED: list[Member] = []


def _join(node: NodeEnvironment, number: int) -> None:
    made = Member(node)
    made.announce(replica(number))
    _JOINED.append(made)


def test_a_killed_replica_is_no_longer_listed_even_if_no_file_changed(node: NodeEnvironment, joined: Member) -> None:
    with node_members.processes(node, 1, first=1) as (other,):
        both = ask(node)
        assert set(both.states) == {replica().name, other.name}
        # Stopped, so that the poll is held by the one that lives on.
        other.send(signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            held = pool.submit(_patient, node, f"?since={both.version}&wait=5")
            other.kill()
            assert held.result().states == {replica().name: "Ready"}


def _patient(node: NodeEnvironment, query: str = "") -> node_members.Answer:
    """As a gateway asks: what a dying or stopped process doesn't answer is asked again."""
    end_s = time.monotonic() + 60
    while True:
        try:
            return ask(node, query, timeout_s=6 if "wait" in query else 0.5)
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < end_s, "nobody answers"


def test_twenty_four_processes_share_the_address_and_any_of_them_answers_for_all(node: NodeEnvironment) -> None:
    with node_members.processes(node, 24) as members:
        names = {each.name for each in members}
        answers = [ask(node) for _ in range(200)]
        assert {frozenset(each.states) for each in answers} == {frozenset(names)}
        # The same version from every process: a poll with the version of one may reach another one.
        assert len({each.version for each in answers}) == 1
        while len(members) > 1:
            victim = members.pop(len(members) // 2)
            names.remove(victim.name)
            victim.kill()
            wait_until(lambda: set(_patient(node).states) == names)
        (last,) = members
        assert _patient(node).states == {last.name: "Ready"}


def test_a_stopped_process_stays_listed_and_the_others_answer(node: NodeEnvironment) -> None:
    with node_members.processes(node, 4) as members:
        members[0].send(signal.SIGSTOP)
        for _ in range(30):
            assert len(_patient(node).states) == 4


def test_a_draining_replica_is_listed_and_the_address_closes_with_the_last_replica(node: NodeEnvironment) -> None:
    with node_members.processes(node, 2) as (first, second):
        first.order("drain")
        assert ask(node).states == {first.name: "Draining", second.name: "Ready"}
        first.order("leave")
        assert _patient(node).states == {second.name: "Ready"}
        second.order("leave")
        with pytest.raises(ConnectionRefusedError):
            ask(node)
    assert list(node.folder.iterdir()) == []
    # The address is free again at once, though connections to it were open a moment ago.
    rejoined = Member(node)
    rejoined.announce(replica(9))
    assert ask(node).states == {replica(9).name: "Ready"}
    rejoined.leave()


def test_the_next_replica_removes_the_files_of_a_node_whose_replicas_all_died(node: NodeEnvironment) -> None:
    with node_members.processes(node, 3) as members:
        for each in members:
            each.kill()
        with node_members.processes(node, 1, first=10) as (next_one,):
            assert ask(node).states == {next_one.name: "Ready"}
    assert [path.name for path in node.folder.iterdir()] == [f"{next_one.name}.ready"]


def test_a_removed_file_is_written_again_and_until_then_the_node_is_unknown(
    node: NodeEnvironment, joined: Member
) -> None:
    for path in node.folder.iterdir():
        path.unlink()
    assert ask(node).states == {replica().name: "Ready"}
    for path in node.folder.iterdir():
        path.unlink()
    node.folder.rmdir()
    node.folder.touch()  # so that it can't be created again
    assert ask(node).status == 503
    with pytest.raises(Exception, match="can't be created"):
        joined.check()
    node.folder.unlink()
    joined.check()
    assert ask(node).states == {replica().name: "Ready"}


def test_an_address_that_cannot_be_bound_and_a_folder_of_others_say_which_variable_is_wrong(
    node: NodeEnvironment,
) -> None:
    with socket.socket() as taken:
        taken.bind((node.directory_host, node.directory_port))  # without SO_REUSEPORT
        with pytest.raises(LoadError, match=r"fairlead: CannotListen: FAIRLEAD_NODE_DIRECTORY, 127.0.0.1:\d+, can't"):
            Member(node)
    node.folder.chmod(0o777)
    with pytest.raises(LoadError, match=r"fairlead: NodeMisconfigured: FAIRLEAD_NODE_FOLDER: .* it must be 0700"):
        Member(node)


def test_a_folder_that_cannot_be_written_when_the_replica_is_ready_fails_its_start(node: NodeEnvironment) -> None:
    made = Member(node)
    node.folder.rmdir()
    node.folder.touch()
    with pytest.raises(LoadError, match="NodeMisconfigured: FAIRLEAD_NODE_FOLDER"):
        made.announce(replica())
    made.leave()
    with pytest.raises(ConnectionRefusedError):
        ask(node)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /v1/replicas HTTP/1.1", 200),
        ("GET /v1/replicas?wait=0&since= HTTP/1.1", 200),
        ("GET /v1/replicas?since=abc HTTP/1.1", 400),
        ("GET /v1/replicas?since=0123456789abcdef0 HTTP/1.1", 400),
        ("GET /v1/replicas?wait=5.1 HTTP/1.1", 400),
        ("GET /v1/replicas?wait=-1 HTTP/1.1", 400),
        ("GET /v1/replicas?wait=1e0 HTTP/1.1", 400),
        ("GET /v1/replicas?wait=nan HTTP/1.1", 400),
        ("GET /v1/replicas?a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9 HTTP/1.1", 400),
        ("GET /v1/replicas", 400),
        ("\xff\xfe", 400),
        ("GET /v1/replicas HTTP/1.1\r\ncontent-length: 3", 400),
        ("GET /v1/replicas HTTP/1.1\r\ntransfer-encoding: chunked", 400),
        ("GET /v1/replicas HTTP/1.1\r\nx: " + "y" * 5000, 400),
        ("POST /v1/replicas HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
    ],
)
def test_every_request_gets_one_answer(node: NodeEnvironment, joined: Member, head: str, status: int) -> None:
    got = raw(node, head.encode("latin-1") + b"\r\nconnection: close\r\n\r\n")
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert got.count(b"HTTP/1.1 ") == 1


def test_a_connection_is_reused_and_closed_after_a_refused_request(node: NodeEnvironment, joined: Member) -> None:
    good, bad = b"GET /v1/replicas HTTP/1.1\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n"
    assert raw(node, good + good + bad + good).count(b"HTTP/1.1 ") == 3


def test_connections_above_the_limit_are_closed(
    node: NodeEnvironment, joined: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 2)
    held = [socket.create_connection((node.directory_host, node.directory_port), timeout=100) for _ in range(2)]
    try:
        for each in held:  # answered, so taken
            each.sendall(b"GET /v1/replicas HTTP/1.1\r\n\r\n")
            assert each.recv(65536).startswith(b"HTTP/1.1 200")
        assert raw(node, b"GET /v1/replicas HTTP/1.1\r\nconnection: close\r\n\r\n") == b""
    finally:
        for each in held:
            each.close()
    wait_until(lambda: raw(node, b"GET /v1/replicas HTTP/1.1\r\nconnection: close\r\n\r\n") != b"")


def test_a_silent_connection_is_closed(node: NodeEnvironment, joined: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "IDLE_S", 0.05)
    assert raw(node, b"GET /v1/rep") == b""


def test_a_stopping_directory_answers_waiting_polls_and_closes_its_connections(node: NodeEnvironment) -> None:
    made = Member(node)
    made.announce(replica())
    version = ask(node).version
    with (
        socket.create_connection((node.directory_host, node.directory_port), timeout=100) as idle,
        socket.create_connection((node.directory_host, node.directory_port), timeout=100) as waiting,
    ):
        idle.sendall(b"GET /v1/replicas HTTP/1.1\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        waiting.sendall(f"GET /v1/replicas?since={version}&wait=5 HTTP/1.1\r\n\r\n".encode())
        made.leave()
        assert b'"replicas":[]' in read_all(waiting)
        assert read_all(idle) == b""


def test_a_thread_that_ended_makes_the_replica_unhealthy(node: NodeEnvironment, joined: Member) -> None:
    joined.check()
    assert joined._thread is not None
    joined._thread.stop()
    with pytest.raises(RuntimeError, match="directory's thread has ended"):
        joined.check()


def test_an_ipv6_node_is_asked_at_its_address(tmp_path: Path) -> None:
    node = node_members.node(tmp_path, host="::1")
    made = Member(node)
    made.announce(replica())
    assert ask(node).states == {replica().name: "Ready"}
    made.leave()


def test_the_largest_answer_is_below_a_mebibyte() -> None:
    from fairlead_runtime.discovery import entry

    longest = entry.Entry(
        replica=replica(namespace="n" * 63, model="m" * 50, port=65535, name="3f0c9a1b2d-" + "f" * 16),
        state=entry.State.DRAINING,
    )
    cluster = f"{'n' * 63}/{'c' * 63}"
    assert len(entry.answer(cluster, [longest] * entry.REPLICAS_MAX, version="0" * 16)) < 1024 * 1024


def test_the_longest_wait_is_that_of_the_contract() -> None:
    assert request.parse(b"GET /v1/replicas?wait=5 HTTP/1.1\r\n\r\n").wait_s == 5.0
