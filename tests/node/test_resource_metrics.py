"""metrics-server reads the kubelet: what `kubectl top` shows, and what a HorizontalPodAutoscaler does with it.

NetworkPolicies are enforced, and stay so for the tests that follow.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.node import helm, pods, product
from tests.support.until import until

from fairlead_cli.local.node import cluster, metrics_server, parts

NAMESPACE = "measured"
GATEWAY = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "fairlead-gateway"}
MODEL = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "name": "doubling"}
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


@pytest.fixture(scope="module")
def measured(node: cluster.NodeCluster) -> cluster.NodeCluster:
    """A node with metrics-server, which stays for the tests that follow."""
    node.enforce_policies()
    metrics_server.install(node)
    return node


@pytest.fixture(scope="module")
def web(measured: cluster.NodeCluster) -> Iterator[str]:
    """The address of a web server of one pod, in a namespace of its own."""
    pods.apply(measured, pods.web(measured, "web"), namespace=NAMESPACE)
    where = (f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.clusterIP}")
    yield pods.run(measured, "get", "service/web", *where)
    pods.run(measured, "delete", f"namespace/{NAMESPACE}", "--timeout=120s")


def top(node: cluster.NodeCluster, *what: str) -> dict[str, tuple[int, int]]:
    """Millicores and MiB by name, as `kubectl top` shows them; empty while there are no measurements."""
    done = node.kubectl("top", *what, "--no-headers")
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: number_pair(row) for row in rows}


def number_pair(row: list[str]) -> tuple[int, int]:
    cpu, memory = (next(each for each in row[1:] if each.endswith(unit)) for unit in ("m", "Mi"))
    return int(cpu.removesuffix("m")), int(memory.removesuffix("Mi"))


def test_top_shows_the_node_and_the_product_s_pods(measured: cluster.NodeCluster, served: product.Product) -> None:
    namespaces = {helm.SYSTEM, served.namespace}

    def running() -> set[str]:
        items = json.loads(pods.run(measured, "get", "pods", "--all-namespaces", "--output=json"))["items"]
        return {each["metadata"]["name"] for each in items if each["metadata"]["namespace"] in namespaces}

    def shown() -> dict[str, tuple[int, int]]:
        return {
            name: numbers
            for namespace in namespaces
            for name, numbers in top(measured, "pods", f"--namespace={namespace}").items()
        }

    until(
        lambda: shown().keys() == running(),
        "all pods",
        deadline_s=120,
        poll_s=1,
        explain=lambda: (shown(), running(), measured.kubectl("top", "pods", "--all-namespaces")),
    )
    found = shown()
    kinds = ("fairlead-", "fairlead-gateway-", "-head-", "-worker-")
    assert all(any(kind in name for name in found) for kind in kinds), found
    assert all(memory > 1 for _, memory in found.values()), found
    cpu, memory = top(measured, "nodes")[parts.NODE_NAME]
    assert cpu > 0
    assert memory > max(each for _, each in found.values())


def autoscale(
    node: cluster.NodeCluster, target: Mapping[str, str], value: str, *, namespace: str, least: int, most: int
) -> None:
    """A HorizontalPodAutoscaler of the target's name: so much of a processor for each pod, and down without delay."""
    wanted = {"type": "AverageValue", "averageValue": value}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": wanted}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": target["name"], "namespace": namespace},
        "spec": spec,
    }
    pods.run(node, "apply", "--server-side", "--filename=-", text=json.dumps(body))


def read_autoscaler(node: cluster.NodeCluster, where: str, name: str) -> dict[str, Any]:
    return dict(json.loads(pods.run(node, where, "get", f"hpa/{name}", "--output=json")))


def read_replicas(node: cluster.NodeCluster, where: str, name: str) -> int:
    """The number of replicas in the spec of a Deployment."""
    return int(pods.run(node, where, "get", f"deployment/{name}", "--output=jsonpath={.spec.replicas}"))


def until_replicas(node: cluster.NodeCluster, namespace: str, name: str, expected: int) -> None:
    where = f"--namespace={namespace}"
    until(
        lambda: read_replicas(node, where, name) == expected,
        f"{expected} replicas",
        deadline_s=300,
        poll_s=1,
        explain=lambda: node.kubectl(where, "describe", f"hpa/{name}").stdout,
    )


@contextlib.contextmanager
def asked_all_the_time(address: str) -> Iterator[None]:
    """A client that asks a web server for one page after the other, without a pause."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            connection = http.client.HTTPConnection(address, timeout=30)
            connection.request("GET", "/")
            connection.getresponse().read()
            connection.close()

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        ended.set()
        client.join()


def test_an_ordinary_deployment_follows_its_use_of_processors(measured: cluster.NodeCluster, web: str) -> None:
    """What the next test says of a model is said where a HorizontalPodAutoscaler works."""
    autoscale(measured, WEB, "20m", namespace=NAMESPACE, least=1, most=3)
    with asked_all_the_time(web):
        until_replicas(measured, NAMESPACE, "web", 3)
    until_replicas(measured, NAMESPACE, "web", 1)


def test_a_model_is_not_scaled_by_the_use_of_processors_and_the_autoscaler_says_why(
    measured: cluster.NodeCluster, served: product.Product
) -> None:
    """The Ray pods use more than its target: an autoscaler that counted them would want the most."""
    where, before = f"--namespace={served.namespace}", served.model()["spec"]
    autoscale(measured, MODEL, "1m", namespace=served.namespace, least=1, most=4)

    def refusal() -> dict[str, Any]:
        conditions = read_autoscaler(measured, where, "doubling").get("status", {}).get("conditions", ())
        return next((each for each in conditions if each["type"] == "ScalingActive"), {})

    until(refusal, "the autoscaler's word", deadline_s=120, poll_s=1)
    assert (refusal()["status"], refusal()["reason"]) == ("False", "FailedGetResourceMetric")
    assert "no metrics returned from resource metrics API" in refusal()["message"]
    assert served.model()["spec"] == before
    pods.run(measured, where, "delete", "hpa/doubling")


@pytest.fixture
def gateways(measured: cluster.NodeCluster, served: product.Product) -> Iterator[product.Product]:
    """A namespace of models whose gateways an autoscaler scales; afterwards their number is the class's again."""
    autoscale(measured, GATEWAY, "1m", namespace=served.namespace, least=2, most=3)
    yield served
    served.kubectl("delete", f"hpa/{GATEWAY['name']}")
    set_access_log(served, None)
    until_replicas(measured, served.namespace, GATEWAY["name"], 2)


def test_gateways_follow_their_use_of_processors_and_no_request_fails(
    measured: cluster.NodeCluster, gateways: product.Product
) -> None:
    """A change of the class sets the class's number, and the autoscaler then sets its own again."""
    with gateways.load(connections=4) as client:
        client.wait_until(lambda seen: seen.requests >= 200, timeout_s=300)
        until_three_gateways(gateways)
        set_access_log(gateways, "Json")
        number = until(lambda: read_applied_number(gateways), "the class's change", deadline_s=120, poll_s=0.2)
        until_three_gateways(gateways)
        client.wait_until(lambda seen: seen.requests >= 2000, timeout_s=300)
        report = client.stop()
    print(f"\n{report.summary()}\n{number} gateways were asked for right after the class's change")
    assert report.failed == 0, report.failures[:5]


def until_three_gateways(served: product.Product) -> None:
    until_replicas(served.node, served.namespace, GATEWAY["name"], 3)
    selector = "app.kubernetes.io/name=fairlead-gateway"
    until(lambda: len(served.ready_pods(selector)) == 3, "three gateways", deadline_s=240, poll_s=1)


def read_applied_number(served: product.Product) -> int | None:
    """Of gateways, as soon as the Deployment has what `set_access_log` asks for."""
    spec = json.loads(served.kubectl("get", f"deployment/{GATEWAY['name']}", "--output=json"))["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    return int(spec["replicas"]) if "--access-log" in container["args"] else None


def set_access_log(served: product.Product, value: str | None) -> None:
    patch = json.dumps({"spec": {"gateway": {"accessLog": value}}})
    pods.run(served.node, "patch", "sclass/default", "--type=merge", f"--patch={patch}")
