"""The gateway on a real API server, under the service account and the rules that the chart ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway_process import Gateway, Replicas, fetch, make_node, retired, revision, spec
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
RESOURCE = "modelroutes.fairlead.dev"


class World:
    def __init__(self, kubernetes: cluster.LocalCluster, gateway: Gateway, replicas: Replicas) -> None:
        self.kubernetes = kubernetes
        self.gateway = gateway
        replicas.start("digits", A)

    def write(self, content: dict[str, Any], model: str = "digits") -> None:
        manifest = {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelRoute",
            "metadata": {"name": model, "namespace": self.kubernetes.namespace},
            "spec": content,
        }
        self.kubernetes.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest)).check_returncode()

    def delete(self, model: str = "digits") -> None:
        self.kubernetes.kubectl("delete", RESOURCE, model, "--ignore-not-found").check_returncode()

    def spec(self, **changed: Any) -> dict[str, Any]:
        return spec(A, {A: revision()}, **changed)

    def is_live(self, one: dict[str, Any]) -> bool:
        return self.gateway.live() == {"digits": one["version"]}


@pytest.fixture
def world(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[World]:
    kubeconfig = kubernetes.service_account_kubeconfig(kubernetes.namespace, "fairlead-gateway")
    arguments = ("--kubeconfig", str(kubeconfig), "--namespace", kubernetes.namespace)
    node = make_node(tmp_path / "node")
    gateway, replicas = Gateway(tmp_path / "gateway", nodes=[node], arguments=arguments), Replicas(node)
    made = World(kubernetes, gateway, replicas)
    try:
        made.delete()
        gateway.start()
        yield made
    finally:
        gateway.stop()
        replicas.stop()
        made.delete()


def test_a_route_is_followed_through_creation_deletion_and_retirement(world: World) -> None:
    url = f"{world.gateway.url}/v2/models/digits/infer"
    until(world.gateway.is_ready, "ready with no route at all, which is an answer")
    first, second = world.spec(), world.spec(maxRequestBytes=5)

    world.write(first)
    until(lambda: world.is_live(first), "the first version")
    world.gateway.wait_up("digits", A)
    assert fetch(url, body=b"x" * 9).status == 200
    world.write(second)
    until(lambda: world.is_live(second), "the second version")
    assert fetch(url, body=b"x" * 9).status == 413

    # Somebody pruned it. What comes after it in the same watch shows that the deletion was seen.
    world.delete()
    other = world.spec(maxRequestBytes=7)
    world.write(other, "other")
    until(lambda: world.gateway.live().get("other") == other["version"], "the other model's route")
    assert world.gateway.live()["digits"] == second["version"]
    assert fetch(url, body=b"x").status == 200

    for model in ("digits", "other"):
        world.write(retired(), model)
    until(lambda: {each.get("retired") for each in world.gateway.routes()["routes"].values()} == {True}, "both ended")
    assert world.gateway.routes()["routes"]["digits"]["version"] == retired()["version"]
    assert fetch(url).status == 404
    for model in ("digits", "other"):
        world.delete(model)
    until(lambda: world.gateway.live() == {}, "no route")


def test_a_route_changed_by_hand_is_refused_because_of_its_version(world: World) -> None:
    good = world.spec()
    world.write(good)
    until(lambda: world.is_live(good), "the good one")

    world.write({**good, "maxRequestBytes": 5})
    until(lambda: "version: " in world.gateway.routes()["errors"].get("digits", ""), "it is refused")

    assert world.is_live(good)


def test_without_its_api_server_a_gateway_serves_and_restarts_and_then_catches_up(world: World) -> None:
    first, second = world.spec(), world.spec(maxRequestBytes=5)
    url = f"{world.gateway.url}/v2/models/digits/infer"
    world.write(first)
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
    world.write(second)

    until(lambda: world.is_live(second), "the version after the API server is back")
