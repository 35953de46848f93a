"""A real gateway before the replicas of a real Ray with two nodes: nothing fails while they are killed and replaced."""

from __future__ import annotations

import json
import os
import signal
import statistics
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import leftovers, made_once, ray_nodes, request_counts
from tests.support.gateway_process import Gateway, revision, spec
from tests.support.until import until

from fairlead_cli import load
from fairlead_cli.local import cluster, options

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REVISION = "3f0c9a1b2d"
REPLICAS = 4
RATE = 400
REQUESTS = request_counts.at_least(30_000)
START_S = 600
Replica = dict[str, Any]


@dataclass
class World:
    """One model with four replicas on two Ray nodes, and its gateway."""

    local: cluster.LocalCluster
    gateway: Gateway
    model: Path

    def scale(self, replicas: int) -> None:
        """Until so many are listed, and up."""
        _deploy(self.local, self.model, replicas)
        until(lambda: len(self.listed()) == replicas, "as many as asked for", deadline_s=START_S, explain=self.listed)
        self.gateway.wait_up("dense", REVISION, replicas)

    def listed(self) -> list[Replica]:
        found = [each for part in ray_nodes.PARTS for each in ray_nodes.listed(self.local, part)]
        return sorted(found, key=lambda each: (str(each["host"]), str(each["name"])))

    def by_host(self) -> dict[str, list[Replica]]:
        """The hosts that have replicas; Ray may place all of them on one."""
        listed = self.listed()
        return {host: [each for each in listed if each["host"] == host] for host in {each["host"] for each in listed}}

    def kill(self, victim: Replica) -> None:
        """SIGKILL; returns when the gateway sends it nothing more. What dies with another one may lose a request."""
        up = self.gateway.up("dense", REVISION)
        os.kill(ray_nodes.pid(self.local, victim), signal.SIGKILL)
        until(lambda: self.gateway.up("dense", REVISION) < up, "the gateway took it out", poll_s=0.01)

    def until_replaced(self, victims: list[Replica]) -> None:
        """Until others are up in their places."""
        gone = {each["name"] for each in victims}

        def are_replaced() -> bool:
            names = {each["name"] for each in self.listed()}
            return len(names) == REPLICAS and not names & gone

        until(are_replaced, "others are listed", deadline_s=START_S, explain=self.listed)
        self.gateway.wait_up("dense", REVISION, REPLICAS)

    def load(self, rate: float) -> load.Settings:
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
        body = json.dumps({"inputs": [tensor]}).encode()
        return load.Settings(
            url=self.gateway.url, model="dense", bodies=(body,), connections=8, rate_limit=rate, expect_shape=(1, 3)
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("nodes")
    models = made_once.models(tmp_path_factory)
    local = cluster.LocalCluster("nodes", folder / "cluster", chosen=options.Options(ray_nodes=2))
    with leftovers.owned(local):
        local.up(("ray",))
        gateway = Gateway(folder / "gateway", nodes=[ray_nodes.node(local, part) for part in ray_nodes.PARTS])
        gateway.start()
        try:
            _deploy(local, models / "dense", REPLICAS)
            gateway.apply(dense=spec(REVISION, {REVISION: revision()}))
            until(lambda: gateway.up("dense", REVISION) == REPLICAS, "all are up", deadline_s=START_S)
            yield World(local, gateway, models / "dense")
        finally:
            gateway.stop()


def _deploy(local: cluster.LocalCluster, model: Path, replicas: int) -> None:
    config = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "dense",
        "revision": REVISION,
        "revisionNumber": 1,
        "source": {"uri": model.as_uri()},
    }
    deployment = {
        "name": "replica",
        "num_replicas": replicas,
        "user_config": {"digest": None},
        "ray_actor_options": {"num_cpus": 0.1, "memory": 200_000_000},
        "graceful_shutdown_timeout_s": 40,
    }
    application = {
        "name": f"default--dense--{REVISION}",
        "import_path": "fairlead_runtime.app:build",
        "route_prefix": None,
        "args": {"config": config},
        "deployments": [deployment],
    }
    asked = urllib.request.Request(
        f"{local.ray_address}/api/serve/applications/",
        method="PUT",
        data=json.dumps({"proxy_location": "Disabled", "applications": [application]}).encode(),
        headers={
            "Authorization": f"Bearer {local.ray_token_file.read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(asked, timeout=120) as answer:
        assert answer.status == 200


def answered(replica: Replica) -> int:
    """The inference requests that a replica has answered with 200, by its own count."""
    with urllib.request.urlopen(f"http://{replica['host']}:{replica['port']}/metrics", timeout=100) as answer:
        text = answer.read().decode()
    samples = (
        line.rpartition(" ") for line in text.splitlines() if line.startswith("fairlead_replica_requests_total{")
    )
    return int(sum(float(value) for name, _, value in samples if 'protocol="v2"' in name and 'code="200"' in name))


def require_no_failures(report: load.Report) -> None:
    assert report.failed == 0, "\n".join((report.summary(), *(each.model_dump_json() for each in report.failures)))


@pytest.mark.nightly
def test_a_new_replica_takes_requests_within_seconds(world: World) -> None:
    """The second is counted in requests: what the others answer until the new one has answered its first.

    A busy machine has five of them.
    """
    meanwhile: list[int] = []
    with load.background(world.load(RATE)) as run:
        run.wait_until(lambda seen: seen.requests > RATE, timeout_s=120)
        for number in range(5):
            before = world.listed()
            victim = before[number % REPLICAS]
            others = [each for each in before if each is not victim]
            os.kill(ray_nodes.pid(world.local, victim), signal.SIGKILL)
            known = {each["name"] for each in before}

            def newest(known: set[str] = known) -> Replica | None:
                return next((each for each in world.listed() if each["name"] not in known), None)

            new = until(newest, "Ray started another one", deadline_s=START_S, poll_s=0.01)
            assert new is not None
            others_before = sum(map(answered, others))
            until(lambda new=new: answered(new) > 0, "it answers", deadline_s=300, poll_s=0.005)
            meanwhile.append(sum(map(answered, others)) - others_before)
            world.until_replaced([victim])
        report = run.stop()
    print("from listed to the first answer, in requests:", meanwhile, "at", RATE, "a second;", report.summary())
    assert statistics.median(meanwhile) <= 5 * RATE, meanwhile
    require_no_failures(report)


@pytest.mark.nightly
def test_no_request_fails_while_replicas_of_two_nodes_are_killed(world: World) -> None:
    until(lambda: {each["host"] for each in world.listed()} == {"127.0.0.1", "127.0.0.2"}, "replicas on both nodes")
    with load.background(world.load(500)) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=120)
        for number in range(4):
            hosts = world.by_host()
            victim = hosts[sorted(hosts)[number % len(hosts)]][0]
            world.kill(victim)
            world.until_replaced([victim])
        # Then nobody is left to answer for one of the nodes, until Ray has started another one there.
        victims = min(world.by_host().values(), key=len)[: REPLICAS - 1]
        for victim in victims:
            world.kill(victim)
        world.until_replaced(victims)
        run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
        report = run.stop()
    print("two nodes:", report.summary())
    require_no_failures(report)


@pytest.mark.nightly
def test_no_request_fails_while_replicas_drain_and_start(world: World) -> None:
    with load.background(world.load(500)) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=120)
        for replicas in (1, REPLICAS, 2, REPLICAS):
            world.scale(replicas)
        report = run.stop()
    print("draining:", report.summary())
    require_no_failures(report)
