"""The gateway on a real API server, under the service account and the rules that the chart ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway_process import Gateway, Replicas, entry, fetch, free_range, revision
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"


class World:
    def __init__(self, kubernetes: cluster.LocalCluster, gateway: Gateway, replicas: Replicas) -> None:
        self.kubernetes = kubernetes
        self.gateway = gateway
        self.first = free_range(4)
        replicas.start("digits", A, self.first)

    def write(self, **models: dict[str, Any]) -> None:
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "fairlead-routes", "namespace": self.kubernetes.namespace},
            "data": {model: json.dumps(one) for model, one in models.items()},
        }
        self.kubernetes.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest)).check_returncode()

    def delete(self) -> None:
        self.kubernetes.kubectl("delete", "configmap", "fairlead-routes", "--ignore-not-found").check_returncode()

    def entry(self, **changed: Any) -> dict[str, Any]:
        return entry(A, {A: revision(self.first)}, **changed)

    def is_live(self, one: dict[str, Any]) -> bool:
        return self.gateway.live() == {"digits": one["version"]}


@pytest.fixture
def world(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[World]:
    kubeconfig = kubernetes.service_account_kubeconfig(kubernetes.namespace, "fairlead-gateway")
    arguments = ("--kubeconfig", str(kubeconfig), "--namespace", kubernetes.namespace)
    gateway, replicas = Gateway(tmp_path / "gateway", arguments=arguments), Replicas()
    made = World(kubernetes, gateway, replicas)
    try:
        made.delete()
        gateway.start()
        yield made
    finally:
        gateway.stop()
        replicas.stop()
        made.delete()


def test_the_config_map_is_followed_from_absence_to_deletion(world: World) -> None:
    until(world.gateway.is_ready, "ready with no table at all, which is an answer")
    first, second = world.entry(), world.entry(maxRequestBytes=5)

    world.write(digits=first)
    until(lambda: world.is_live(first), "the first version")
    world.gateway.wait_up("digits", A)
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"x" * 9).status == 200
    world.write(digits=second)
    until(lambda: world.is_live(second), "the second version")
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"x" * 9).status == 413
    world.delete()
    until(lambda: world.gateway.live() == {}, "no route")

    assert fetch(f"{world.gateway.url}/v2/models/digits").status == 404


def test_without_its_api_server_a_gateway_serves_and_restarts_and_then_catches_up(world: World) -> None:
    first, second = world.entry(), world.entry(maxRequestBytes=5)
    url = f"{world.gateway.url}/v2/models/digits/infer"
    world.write(digits=first)
    until(lambda: world.is_live(first), "the first version")
    world.gateway.wait_up("digits", A)

    world.kubernetes.stop("kube-apiserver")
    try:
        assert fetch(url).status == 200
        world.gateway.stop()
        world.gateway.start()
        until(world.gateway.is_ready, "ready from the last table")
        assert world.is_live(first)
        assert fetch(url).status == 200
    finally:
        world.kubernetes.start("kube-apiserver")
    world.write(digits=second)

    until(lambda: world.is_live(second), "the version after the API server is back")
