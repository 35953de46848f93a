"""Ray nodes found in EndpointSlices on a real API server, under the rules that the chart ships, with a real HAProxy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import counting_client
from tests.support.endpoint_slices import OWN_ADDRESS, Endpoint, Slices
from tests.support.gateway_process import Gateway, Replicas, StandIn, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_cli.local import cluster
from fairlead_runtime.config import NodeEnvironment

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
LABELS = {"fairlead.dev/endpoints": "ray-nodes", "fairlead.dev/cluster": "default"}


class World:
    """Each Ray node has a slice, as all of them have one address and differ by their port."""

    def __init__(self, kubernetes: cluster.LocalCluster, root: Path) -> None:
        self.kubernetes = kubernetes
        self.slices = Slices(kubernetes, labels=LABELS)
        self.root = root
        kubeconfig = kubernetes.service_account_kubeconfig(kubernetes.namespace, "fairlead-gateway")
        arguments = ("--discover-nodes", "--kubeconfig", str(kubeconfig), "--namespace", kubernetes.namespace)
        self.gateway = Gateway(root / "gateway", arguments=arguments)
        self.replicas = Replicas(make_node(root / "unused", host=OWN_ADDRESS))
        self.nodes: dict[str, tuple[NodeEnvironment, StandIn]] = {}

    def write_route(self) -> None:
        route = {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelRoute",
            "metadata": {"name": "digits", "namespace": self.kubernetes.namespace},
            "spec": spec(A, {A: revision()}),
        }
        self.kubernetes.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(route)).check_returncode()

    def add(self, name: str) -> None:
        """A node with one replica, until that takes requests."""
        node = make_node(self.root / name, host=OWN_ADDRESS)
        replica = self.replicas.start("digits", A, node=node)
        self.nodes[name] = (node, replica)
        self.write(name)
        until(lambda: replica.name in self.gateway.servers_up(), f"{name} is up", explain=self.gateway.routes)

    def write(self, name: str, *, is_ready: bool = True, is_ending: bool = False, port_name: str = "directory") -> None:
        node, _ = self.nodes[name]
        endpoint = Endpoint(OWN_ADDRESS, is_ready=is_ready, is_ending=is_ending)
        self.slices.write(name, [endpoint], ports={port_name: node.directory_port})

    def end(self, name: str) -> None:
        """As Kubernetes ends a pod: Terminating with requests in flight, drained, then gone."""
        self.write(name, is_ending=True)
        _, replica = self.nodes.pop(name)
        until(lambda: self.is_listed(name), "it is still asked")
        assert replica.name in self.gateway.servers_up()
        replica.drain()
        self.slices.delete(name)
        until(lambda: replica.name not in self.gateway.servers_up(), f"{name} is out")

    def is_listed(self, name: str) -> bool:
        return len(self.gateway.routes()["nodes"]) == len(self.nodes) + 1

    def load(self) -> counting_client.Background:
        return counting_client.Background(
            counting_client.Settings(
                url=self.gateway.url, model="digits", bodies=(b'{"inputs":[]}',), connections=12, timeout_s=20
            )
        )


@pytest.fixture
def world(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[World]:
    made = World(kubernetes, tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(kubernetes.kubectl, "delete", "modelroutes.fairlead.dev", "digits", "--ignore-not-found")
        stack.callback(made.slices.delete_all)
        stack.callback(made.replicas.stop)
        stack.callback(made.gateway.stop)
        made.write_route()
        made.gateway.start()
        until(made.gateway.is_ready, "ready without a node, which is an answer", explain=made.gateway.routes)
        yield made


def test_no_request_fails_while_nodes_come_and_go(world: World) -> None:
    world.add("first")
    with world.load() as load:
        for number in range(4):
            world.add(f"other-{number}")
            world.write(f"other-{number}", is_ready=False)
            world.end("first" if number == 0 else f"other-{number - 1}")
        report = load.stop()

    assert report.failures == (), report.summary()
    assert report.requests > 3000


def test_no_request_fails_while_slices_are_odd_and_the_api_server_is_away(world: World) -> None:
    world.add("first")
    world.add("second")
    both = world.gateway.servers_up()
    assert len(both) == 2
    with world.load() as load:
        world.write("first", port_name="renamed")
        world.slices.write("odd", [Endpoint(OWN_ADDRESS)], ports={"http": 80})
        world.add("third")
        assert world.gateway.servers_up() > both, "an odd slice takes nothing away"
        world.write("first")
        world.kubernetes.stop("kube-apiserver")
        try:
            world.gateway.kill_agent()
            world.gateway.start()
            until(world.gateway.is_ready, "ready from the last list", explain=world.gateway.routes)
            assert world.gateway.servers_up() > both
        finally:
            world.kubernetes.start("kube-apiserver")
        world.add("fourth")
        world.end("first")
        report = load.stop()

    assert report.failures == (), report.summary()
    assert report.requests > 3000


def test_a_gateway_that_never_had_a_list_is_not_ready(world: World) -> None:
    world.gateway.stop()
    (world.gateway.state_dir / "nodes.json").unlink()
    world.kubernetes.stop("kube-apiserver")
    try:
        world.gateway.start()
        until(lambda: "not been read" in _readiness(world), "it waits for the list", explain=lambda: _readiness(world))
    finally:
        world.kubernetes.start("kube-apiserver")
    until(world.gateway.is_ready, "ready with the list")
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"{}").status == 503


def _readiness(world: World) -> str:
    answer = world.gateway.admin("/readyz")
    return "" if answer is None else answer.text
