"""Nothing that happens to the gateway, its table or its replicas may fail a request; each is done under load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import counting_client, request_counts
from tests.support.gateway_process import (
    DEADLINE_S,
    Gateway,
    Replicas,
    fetch,
    gateway_and_replicas,
    make_node,
    revision,
    spec,
)
from tests.support.replica_stand_in import UNTIL
from tests.support.until import until

pytestmark = pytest.mark.real

A, B, C = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"
MORE = request_counts.at_least(500, daily=200)
TURNS = 12 if request_counts.are_whole() else 5


class World:
    """A gateway with one model: revision A with two replicas is stable, B with one is there, C has none."""

    def __init__(self, gateway: Gateway, replicas: Replicas) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.revisions = {name: revision() for name in (A, B, C)}
        self.of_a = [replicas.start("digits", A) for _ in range(2)]
        self.of_b = replicas.start("digits", B)
        self.table = spec(A, {A: self.revisions[A], B: self.revisions[B]})
        gateway.apply(digits=self.table)
        gateway.wait_up("digits", A, 2)
        gateway.wait_up("digits", B, 1)

    def load(self, connections: int = 8) -> counting_client.Background:
        asked = counting_client.Settings(
            url=self.gateway.url,
            model="digits",
            bodies=(b'{"inputs":[]}',),
            connections=connections,
            rate_limit=request_counts.limit(500.0),
            timeout_s=60,
        )
        return counting_client.Background(asked)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with gateway_and_replicas(tmp_path) as (gateway, replicas):
        yield World(gateway, replicas)


def under_way(load: counting_client.Background, more: int = MORE) -> None:
    """Wait for `more` answers from now on."""
    seen = load.progress().requests
    load.wait_until(lambda progress: progress.requests >= seen + more, timeout_s=200)


def test_no_request_fails_over_weight_changes_revisions_and_reloads(world: World) -> None:
    gateway, both = world.gateway, {A: world.revisions[A], B: world.revisions[B]}
    started = gateway.metric("fairlead_gateway_haproxy_reloads_total")
    with world.load() as load:
        under_way(load)
        for turn in range(TURNS):
            gateway.apply(digits=spec(A, both, candidate=B, candidateWeight=(turn * 1700) % 10_001))
            gateway.apply(digits=spec(B, both, candidate=A, candidateWeight=(turn * 900) % 10_001))
            # A revision comes and goes.
            gateway.apply(digits=spec(B, {**both, C: world.revisions[C]}))
            under_way(load, 200)
            assert gateway.metric("fairlead_gateway_haproxy_reloads_total") == started + turn
            # A header's name that was never asked for is another configuration.
            match = [{"header": f"x-{turn}", "value": "1"}]
            gateway.apply(digits=spec(A, both, candidate=B, match=match))
            assert gateway.metric("fairlead_gateway_haproxy_reloads_total") == started + turn + 1
            under_way(load, 200)
        report = load.stop()

    assert report.failures == (), report.summary()
    assert report.requests > 400 * TURNS


def test_a_live_version_sends_no_request_to_the_previous_revision(world: World) -> None:
    gateway, url = world.gateway, f"{world.gateway.url}/v2/models/digits/infer"
    with world.load(connections=2) as load:
        under_way(load)
        # Idle connections stay with the worker that took them, also when a reload replaces it.
        idle = counting_client.Settings(url=gateway.url, model="digits", bodies=(b"{}",), connections=50, rate_limit=20)
        # One that is not used again keeps its worker, however long the machine takes for the reload.
        unused = http.client.HTTPConnection("127.0.0.1", gateway.data_port, timeout=100)
        with contextlib.closing(unused), counting_client.background(idle) as slow:
            unused.request("POST", "/v2/models/digits/infer", body=b"{}")
            assert unused.getresponse().read()
            slow.wait_until(lambda progress: progress.requests >= 60, timeout_s=200)
            # Another header's name is a reload.
            gateway.apply(digits=spec(A, world.revisions, candidate=B, match=[{"header": "x-a", "value": "b"}]))
            assert gateway.metric("fairlead_gateway_old_workers") > 0
            # The worker that was replaced never hears of this one.
            gateway.apply(digits=spec(B, world.revisions))
            until(lambda: sessions(gateway, A) == 0, "no request of the old revision is in flight")
            for one in world.of_a:
                one.kill()
            under_way(slow, 60)
            report = slow.stop()
        assert fetch(url).headers["x-fairlead-revision"] == B
        fast = load.stop()

    assert report.failures == (), report.summary()
    assert fast.failures == (), fast.summary()


def sessions(gateway: Gateway, name: str) -> int:
    found = gateway.routes().get("routes", {}).get("digits", {}).get("revisions", {}).get(name, {})
    return int(found.get("sessions", -1))


def test_no_request_fails_when_the_agent_is_killed_and_started_again(world: World) -> None:
    gateway = world.gateway
    master = gateway.master()
    with world.load() as load:
        under_way(load)
        gateway.kill_agent()
        under_way(load, 1000)
        gateway.start()
        until(gateway.is_ready, "the new agent is ready")
        gateway.apply(digits=spec(B, {A: world.revisions[A], B: world.revisions[B]}))
        # Also a reload: the new agent commands the HAProxy that it did not start.
        gateway.apply(digits=spec(B, world.revisions))
        under_way(load)
        report = load.stop()

    assert gateway.master() == master
    assert report.failures == (), report.summary()
    assert report.revisions[B].count > 0
    counted = "fairlead_gateway_requests_total"
    until(lambda: gateway.metric(counted, model="digits", revision=B) > 0, "the new agent counts")


def test_an_agent_killed_before_it_wrote_its_record_finds_its_haproxy(world: World) -> None:
    gateway, master = world.gateway, world.gateway.master()
    gateway.kill_agent()
    (gateway.state_dir / "haproxy.json").unlink()

    gateway.start()
    until(gateway.is_ready, "the new agent is ready")

    assert gateway.master() == master
    assert gateway.metric("fairlead_gateway_haproxy_starts_total") == 0


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_a_killed_haproxy_is_restarted_and_loses_only_requests_in_flight(world: World, victim: str) -> None:
    gateway = world.gateway
    connections = 8
    with world.load(connections) as load:
        for kills in range(1, 4):
            under_way(load)
            master = gateway.master()
            assert master is not None
            os.kill(gateway.workers()[0] if victim == "worker" else master, signal.SIGKILL)
            until(
                lambda kills=kills: gateway.metric("fairlead_gateway_haproxy_starts_total") == 1 + kills,
                what="HAProxy is started again",
                deadline_s=DEADLINE_S,
            )
            until(gateway.is_ready, "ready again")
            gateway.wait_up("digits", A, 2)
        under_way(load)
        report = load.stop()

    # The listening socket never closes, so no connection is refused; a killed worker takes down what it was answering.
    refused = [failure for failure in report.failures if failure.kind == counting_client.Kind.CONNECT]
    assert refused == [], report.summary()
    assert {failure.kind for failure in report.failures} <= {counting_client.Kind.RESET, counting_client.Kind.CUT}
    assert report.failed <= 3 * connections, report.summary()
    assert gateway.live()["digits"] == world.table["version"]


def test_a_killed_haproxy_is_restarted_by_a_restarted_agent(world: World) -> None:
    gateway = world.gateway
    gateway.kill_agent()
    gateway.start()
    until(gateway.is_ready, "the new agent is ready")

    master = gateway.master()
    assert master is not None
    os.kill(master, signal.SIGKILL)

    until(lambda: gateway.master() not in (None, master), "another HAProxy", deadline_s=DEADLINE_S)
    gateway.wait_up("digits", A, 2)
    assert fetch(f"{gateway.url}/v2/models/digits/infer").status == 200


def test_of_a_killed_replica_at_most_one_request_fails(world: World) -> None:
    gateway = world.gateway
    with world.load() as load:
        for index in range(5):
            under_way(load)
            world.of_a[index % 2].kill()
            gateway.wait_up("digits", A, 1)
            world.of_a[index % 2] = world.replicas.start("digits", A)
            gateway.wait_up("digits", A, 2)
        report = load.stop()

    assert report.failed <= 5, report.summary()


def test_a_draining_replica_gets_no_new_request_and_none_fails(world: World) -> None:
    gateway = world.gateway
    with world.load() as load:
        under_way(load)
        leaving = world.of_a[0]
        leaving.process.send_signal(signal.SIGTERM)
        until(lambda: drained(gateway) or gateway.up("digits", A) == 1, "it is seen to drain")
        report_of_drain = leaving.drain()
        gateway.wait_up("digits", A, 1)
        under_way(load)
        report = load.stop()

    assert report.failures == (), report.summary()
    # What came between its word and HAProxy's next look, half a second later at most, was still answered.
    assert report_of_drain["servedAfterDrain"] < report.requests / 2


def drained(gateway: Gateway) -> bool:
    return gateway.routes()["routes"]["digits"]["revisions"][A]["draining"] == 1


def test_a_gateway_starts_from_its_last_table_when_its_source_is_away(world: World) -> None:
    gateway = world.gateway
    weighted = spec(B, {A: world.revisions[A], B: world.revisions[B]})
    gateway.apply(digits=weighted)
    gateway.stop()
    assert gateway.master() is None
    # The source can't be read: that is not the same as an empty table.
    gateway.state_dir.with_name("gateway-routes.json").write_text("{")

    gateway.start()
    until(gateway.is_ready, "ready from the last table")

    assert gateway.live() == {"digits": weighted["version"]}
    assert fetch(f"{gateway.url}/v2/models/digits/infer").headers["x-fairlead-revision"] == B
    assert gateway.metric("fairlead_gateway_source_errors_total") > 0


def test_a_stopped_gateway_answers_what_is_in_flight_and_leaves_no_process(world: World, tmp_path: Path) -> None:
    gateway, release = world.gateway, tmp_path / "release"
    asked = counting_client.Settings(
        url=gateway.url, model="digits", bodies=(b"{}",), connections=4, requests=4, headers=((UNTIL, str(release)),)
    )
    with counting_client.background(asked) as slow:
        until(lambda: sessions(gateway, A) == 4, "four requests in flight")
        master, workers = gateway.master(), gateway.workers()
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: not gateway.servers_up(), "HAProxy has begun to stop")
        release.touch()
        gateway.stop()
        report = slow.wait(timeout_s=60)

    assert report.failures == (), report.summary()
    assert gateway.master() is None
    assert master is not None
    assert not any(Path(f"/proc/{pid}").exists() for pid in (master, *workers))


def test_a_stopping_gateway_reports_unready_first_and_keeps_serving(tmp_path: Path) -> None:
    """A balancer in front needs time to notice: until then each new connection has to be answered."""
    node = make_node(tmp_path / "node")
    gateway, replicas = Gateway(tmp_path / "gateway", nodes=[node], stop_delay_s=3600), Replicas(node)
    try:
        gateway.start()
        replicas.start("digits", A)
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up("digits", A)
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: not gateway.is_ready(), "the admin port says that it isn't ready")
        until(lambda: fetch(f"{gateway.url}/v2/health/ready").status == 503, "and so does the data port")

        # It is still brought to what its table says.
        changed = spec(A, {A: revision()}, maxRequestBytes=5)
        gateway.apply(digits=changed)
        assert fetch(f"{gateway.url}/v2/models/digits/infer", body=b"x").status == 200
        assert fetch(f"{gateway.url}/v2/models/digits/infer", body=b"x" * 9).status == 413

        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: not gateway.is_running(), "a second signal ends the wait")
        assert gateway.master() is None
    finally:
        gateway.stop()
        replicas.stop()


def test_the_state_files_describe_the_running_haproxy(world: World) -> None:
    record = json.loads((world.gateway.state_dir / "haproxy.json").read_text())

    assert record["pid"] == world.gateway.master()
    assert (world.gateway.state_dir.stat().st_mode & 0o777) == 0o700
