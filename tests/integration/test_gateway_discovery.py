"""Replicas come, drain, die and hang on two nodes, under load: nothing fails. Real agent, HAProxy and directories."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import moving_replicas, request_counts
from tests.support.gateway_process import Answer, Gateway, fetch, revision, spec
from tests.support.moving_replicas import World
from tests.support.until import until

from fairlead_gateway import request_log

pytestmark = pytest.mark.real
ROUNDS = 3 if request_counts.are_whole() else 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with moving_replicas.moving_replicas(tmp_path) as made:
        yield made


@pytest.mark.parametrize("story", moving_replicas.STORIES, ids=lambda name: str(name).replace(" ", "-"))
def test_no_request_fails_while_replicas_start_drain_and_die(world: World, story: str) -> None:
    with world.load() as load:
        load.wait_until(lambda seen: seen.requests > 200, timeout_s=200)
        for _ in range(ROUNDS):
            moving_replicas.STORIES[story](world)
        before = load.progress().requests
        load.wait_until(lambda seen: seen.requests > before + 400, timeout_s=200)
        report = load.stop()

    assert report.failures == (), report.summary()


@pytest.mark.parametrize("others", [0, 2], ids=["the only ones", "two of four"])
def test_replicas_killed_together_cost_errors_that_clients_may_repeat(world: World, others: int) -> None:
    """What a client sees where a node with all of a model's replicas is lost, or half of them."""
    for _ in range(others):
        world.start_and_meet()
    refused: list[Answer] = []
    ended = threading.Event()

    def ask() -> None:
        """As a careful client does: what is refused is sent again after a second."""
        while not ended.is_set():
            while (found := fetch(f"{world.gateway.url}/v1/models/digits:predict", body=b"{}")).status != 200:
                refused.append(found)
                time.sleep(1)

    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask) for _ in range(8)]
        for victim in world.random.sample(world.living, 2):
            os.kill(victim.process.pid, signal.SIGKILL)
            world.kill(victim)
        world.start()
        world.settle()
        ended.set()
    for each in asking:
        each.result()

    assert {found.status for found in refused} <= {502, 503}
    assert all(list(found.json) == ["error"] for found in refused)
    assert all(found.headers["retry-after"] == "1" for found in refused if found.status == 503)
    assert refused or others, "nothing can answer while there is no replica"


def test_a_directory_whose_process_hangs_hides_no_replica(world: World) -> None:
    """The kernel gives some questions to the hanging process: they are asked again."""
    for _ in range(2):
        world.start_and_meet()
    held = world.living[0]
    os.kill(held.process.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            world.start_and_meet()
            world.start_and_meet()
            world.kill(world.living[-1])
            gone = {each.name for each in world.living if each is not held}
            until(lambda gone=gone: world.up() - {held.name} == gone, "the dead one is out")
    finally:
        os.kill(held.process.pid, signal.SIGCONT)
    world.settle()


def test_a_place_is_released_and_a_restarted_agent_keeps_the_assigned_places(world: World) -> None:
    def places() -> dict[str, int]:
        return dict(world.gateway.pool()["places"])

    assert places() == {"digits/aaaaaaaaaa": 1}
    moving_replicas.swap_revision(world)
    until(lambda: places() == {"digits/bbbbbbbbbb": 2}, "the first place is free again", explain=places)
    world.gateway.kill_agent()
    (world.gateway.state_dir / "pool.json").unlink()
    world.gateway.start()
    until(world.gateway.is_ready, "the new agent is ready")

    assert places() == {"digits/bbbbbbbbbb": 2}, "what runs is believed"
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"{}").status == 200
    moving_replicas.swap_revision(world)
    until(lambda: places() == {"digits/aaaaaaaaaa": 1}, "and dealt again", explain=places)


def test_the_same_feedback_meets_the_same_replica_on_every_gateway(world: World, tmp_path: Path) -> None:
    """Also on one that has met the replicas in another order, and after a reload made them servers of its file."""
    for _ in range(2):
        world.start_and_meet()
    other = Gateway(tmp_path / "other", nodes=list(reversed(world.gateway.nodes)))
    try:
        other.start()
        other.apply(digits=spec(world.revision, {world.revision: revision()}))
        until(lambda: other.servers_up() == world.up(), "both have all replicas")
        tokens = [f"token-{number}" for number in range(100)]

        def replicas(gateway: Gateway) -> list[str]:
            url = f"{gateway.url}/v2/models/digits/feedback"
            return [fetch(url, body=b"{}", headers={"x-fairlead-feedback": token}).json["replica"] for token in tokens]

        expected = replicas(world.gateway)
        assert len(set(expected)) == 4
        assert replicas(other) == expected
        moving_replicas.reload_only(world)
        assert replicas(world.gateway) == expected
    finally:
        other.stop()


def test_a_starting_gateway_serves_as_soon_as_it_is_ready(world: World) -> None:
    world.gateway.stop()
    world.gateway.start()
    until(world.gateway.is_ready, "ready")

    assert [fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"{}").status for _ in range(20)] == [200] * 20


def test_more_revisions_than_the_pool_has_places_make_it_grow_once(world: World) -> None:
    reloads = world.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    names = [f"{number:010x}" for number in range(60)]
    models = {f"m{index}": spec(None, {name: revision() for name in names[index::3]}) for index in range(3)}
    digits = spec(world.revision, {world.revision: revision()})
    with world.load(4) as load:
        world.gateway.apply(digits=digits, **models)
        report = load.stop()

    assert world.gateway.metric("fairlead_gateway_haproxy_reloads_total") == reloads + 1
    assert world.gateway.pool()["size"] == 128
    assert report.failures == (), report.summary()


def test_haproxy_says_where_requests_are_logged_that_a_server_goes_down_and_comes_up(world: World) -> None:
    """The agent hears of it there, without asking. Here it is dead, so that the test can read in its place."""
    held = world.living[0]
    world.gateway.kill_agent()
    log = os.open(world.gateway.state_dir / request_log.PIPE_FILE, os.O_RDONLY | os.O_NONBLOCK)
    logged = ""

    def has_logged(words: str) -> bool:
        nonlocal logged
        with contextlib.suppress(BlockingIOError):
            logged += os.read(log, 1 << 16).decode()
        return any(held.name in line and words in line for line in logged.splitlines())

    try:
        os.kill(held.process.pid, signal.SIGSTOP)
        until(lambda: has_logged("is DOWN"), "it is down", explain=lambda: logged)
        os.kill(held.process.pid, signal.SIGCONT)
        until(lambda: has_logged("is UP"), "it is up", explain=lambda: logged)
    finally:
        os.close(log)


def test_who_waits_for_changes_reads_the_routes_only_then(world: World) -> None:
    def wait(since: str | None) -> str:
        query = "" if since is None else f"since={since}&wait=5"
        return str(fetch(f"http://127.0.0.1:{world.gateway.admin_port}/v1/changes?{query}").json["version"])

    def follow(count: int) -> None:
        """Read at a change, until so many are up: each question may be held for its five seconds."""
        nonlocal since
        for _ in range(20):
            since = wait(since)
            if world.gateway.up("digits", world.revision) == count:
                return
        raise AssertionError(world.gateway.routes())

    since: str | None = None
    follow(2)
    world.start()
    follow(3)
    world.kill()
    follow(2)
    assert fetch(f"http://127.0.0.1:{world.gateway.admin_port}/v1/changes?wait=6").status == 400
    assert fetch(f"http://127.0.0.1:{world.gateway.admin_port}/v1/changes?wait=-1").status == 400
