"""Two nodes: the parts of the product are spread over both, and one node is drained, lost, and there again.

`FAIRLEAD_TEST_TWO_NODES=NAME` takes what `fairlead local up --node --nodes 2 --name NAME` started, and leaves it up.
"""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from tests.node import helm, pods, product
from tests.support import leftovers
from tests.support.until import until

from fairlead_cli import load
from fairlead_cli.local.node import cluster, release, sandbox
from fairlead_operator.desired import ray_cluster

REQUESTS = 30_000
CONNECTIONS = 8
HEAD = "ray.io/node-type=head"
WORKER = "ray.io/node-type=worker"
GATEWAY = "app.kubernetes.io/name=fairlead-gateway"
OPERATOR = "app.kubernetes.io/component=operator"
BOTH = {"node-1", "node-2"}
# A worker has room for the replicas of two revisions: one that is full with those of the stable revision gets none of
# the next.
MORE = """\
  scaling:
    replicas: 2
  serving:
    resources:
      cpu: 250m
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.NodeCluster]:
    if kept := os.environ.get("FAIRLEAD_TEST_TWO_NODES"):
        standing = cluster.NodeCluster(kept)
        standing.up()
        yield standing
        return
    made = cluster.NodeCluster("pair", tmp_path_factory.mktemp("pair") / "cluster", count=2)
    with leftovers.owned(made):
        made.up()
        yield made


@pytest.fixture(scope="module")
def served(pair: cluster.NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> product.Product:
    """A model with two replicas, two workers and two gateways; the second node has neither its head nor its store."""
    release.install(pair, workers=2)
    pods.run(pair, "cordon", "node-2")
    url = product.publish_model(pair, tmp_path_factory.mktemp("model"), namespace="stores")
    made = product.make_namespace(pair, "models")
    manifest = product.MANIFEST.format(namespace=made.namespace, url=url) + MORE
    pods.run(pair, "apply", "--filename=-", text=manifest)
    until(lambda: nodes_of(made, HEAD), "a head with a node", deadline_s=300)
    pods.run(pair, "uncordon", "node-2")
    spread(made)
    return made


def nodes_of(served: product.Product, selector: str) -> list[str]:
    """The node of each pod, in order."""
    where = (f"--namespace={served.namespace}", f"--selector={selector}")
    return sorted(pods.placed(served.node, *where).values())


def ready_nodes_of(served: product.Product, selector: str) -> set[str]:
    """The nodes with a pod that is ready."""
    ready = set(served.ready_pods(selector))
    where = (f"--namespace={served.namespace}", f"--selector={selector}")
    return {node for name, node in pods.placed(served.node, *where).items() if name in ready}


def spread(served: product.Product) -> None:
    """Have a worker and a gateway on each node.

    Pods that were placed while the second node was closed, or gone, stay where they are: one of each is replaced.
    """
    for selector in (WORKER, GATEWAY):
        if len(set(nodes_of(served, selector))) < 2:
            served.kubectl("delete", f"pod/{idle_pod(served, selector)}")
        until(
            functools.partial(is_on_both, served, selector),
            f"ready pods {selector} on both nodes",
            deadline_s=300,
            poll_s=0.5,
            explain=lambda: served.kubectl("get", "pods,events", "--output=wide"),
        )


def is_on_both(served: product.Product, selector: str) -> bool:
    return ready_nodes_of(served, selector) == BOTH


def idle_pod(served: product.Product, selector: str) -> str:
    """One with the fewest replicas."""
    found = served.pods(selector)
    return str(min(found, key=lambda pod: len(replicas_of(pod)))["metadata"]["name"])


def replicas_of(pod: Mapping[str, Any]) -> list[str]:
    """The replicas that a Ray worker's directory lists; none before the first of them has started it."""
    if "podIP" not in pod["status"]:
        return []
    url = f"http://{pod['status']['podIP']}:{ray_cluster.DIRECTORY_PORT}/v1/replicas"
    try:
        return [each["name"] for each in httpx.get(url, timeout=10).json()["replicas"] if each["state"] == "Ready"]
    except httpx.ConnectError:
        return []


def replicas_by_node(served: product.Product) -> dict[str, int]:
    """How many replicas run on each node that has any."""
    counted: collections.Counter[str] = collections.Counter()
    for pod in served.pods(WORKER):
        counted[pod["spec"].get("nodeName", "")] += len(replicas_of(pod))
    return dict(+counted)


def restart(served: product.Product) -> None:
    """By `kubectl fairlead restart`: a new revision of the same model."""
    before = served.model()["status"]["stableRevision"]
    program = pathlib.Path(sys.executable).with_name("kubectl-fairlead")
    place = (f"--kubeconfig={served.node.kubeconfig}", f"--namespace={served.namespace}")
    done = subprocess.run([program, "restart", "doubling", *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    until(lambda: served.model()["status"]["stableRevision"] != before, "the new revision", deadline_s=300, poll_s=0.5)
    served.await_ready()


def gateway_on(served: product.Product, node: str) -> str:
    """The address of that node's gateway for clients."""
    (found,) = (each for each in served.pods(GATEWAY) if each["spec"].get("nodeName") == node)
    ports = found["spec"]["containers"][0]["ports"]
    (port,) = (each["containerPort"] for each in ports if each["name"] == "data")
    return f"{found['status']['podIP']}:{port}"


def finish(client: load.Background) -> load.Report:
    """Let the client reach REQUESTS, with 1,000 more in any case."""
    enough = max(REQUESTS, client.progress().requests + 1000)
    client.wait_until(lambda seen: seen.requests >= enough, timeout_s=900)
    report = client.stop()
    print(f"\n{report.summary()}, longest gap {report.longest_gap_s:.2f} s, {report.failures[:3]}")
    return report


def test_the_parts_are_spread_over_both_nodes(served: product.Product) -> None:
    restart(served)
    assert replicas_by_node(served) == {"node-1": 1, "node-2": 1}
    assert ready_nodes_of(served, WORKER) == BOTH
    assert ready_nodes_of(served, GATEWAY) == BOTH
    where = (f"--namespace={helm.SYSTEM}", f"--selector={OPERATOR}")
    assert set(pods.placed(served.node, *where).values()) == BOTH


def test_no_request_fails_while_a_node_is_drained(served: product.Product) -> None:
    """With `kubectl drain`, which evicts and respects the disruption budgets."""
    with served.load(connections=CONNECTIONS) as client:
        client.wait_until(lambda seen: seen.requests >= 1000, timeout_s=300)
        began = time.monotonic()
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=280s")
        pods.run(served.node, "drain", "node-2", *options)
        drained_s = time.monotonic() - began
        until(lambda: len(served.ready_pods(WORKER)) == 2, "two workers", deadline_s=300, poll_s=0.5)
        until(lambda: len(served.ready_pods(GATEWAY)) == 2, "two gateways", deadline_s=300, poll_s=0.5)
        everything = pods.placed(served.node, "--all-namespaces")
        assert "node-2" not in everything.values(), everything
        report = finish(client)
    print(f"the node was empty after {drained_s:.1f} s")
    pods.run(served.node, "uncordon", "node-2")
    assert report.failed == 0, report.failures[:5]


def test_a_restart_spreads_the_replicas_that_a_drain_left_on_one_node(served: product.Product) -> None:
    spread(served)
    assert replicas_by_node(served) == {"node-1": 2}
    with served.load(connections=CONNECTIONS) as client:
        client.wait_until(lambda seen: seen.requests >= 1000, timeout_s=300)
        restart(served)
        report = finish(client)
    assert replicas_by_node(served) == {"node-1": 1, "node-2": 1}
    assert report.failed == 0, report.failures[:5]


def cut(node: cluster.NodeCluster, *, off: bool) -> None:
    """Cut a node off from all others, or join it again: nobody hears of the reason, as when its power fails."""
    argv = ["ip", "link", "set", "node-2", "down" if off else "up"]
    subprocess.run(sandbox.Sandbox.enter(node.pid(sandbox.HOLDER), argv), check=True)
    if not off:
        node.up()  # routes by an interface go with it


def test_a_lost_node_costs_no_more_than_what_it_was_answering(served: product.Product) -> None:
    """At the gateway that is left: clients of the lost one wait for Kubernetes to take it out of the Service."""
    assert replicas_by_node(served) == {"node-1": 1, "node-2": 1}
    with served.load(connections=CONNECTIONS, authority=gateway_on(served, "node-1")) as client:
        client.wait_until(lambda seen: seen.requests >= 1000, timeout_s=300)
        cut(served.node, off=True)
        began = time.monotonic()
        until(lambda: ready_nodes_of(served, GATEWAY) == {"node-1"}, "the loss to be known", deadline_s=180, poll_s=0.5)
        known_s = time.monotonic() - began
        until(
            lambda: served.model()["status"].get("readyReplicas") == 2,
            "two replicas",
            deadline_s=300,
            poll_s=0.5,
            explain=lambda: str(served.model()["status"]),
        )
        replaced_s = time.monotonic() - began
        report = finish(client)
    print(f"Kubernetes knew of it after {known_s:.0f} s, two replicas ran again after {replaced_s:.0f} s")
    assert report.failed <= CONNECTIONS, report.failures[:5]


def test_a_lost_node_that_returns_is_used_again(served: product.Product) -> None:
    cut(served.node, off=False)
    until(
        lambda: ready_nodes_of(served, WORKER) == BOTH,
        "ready workers on both nodes",
        deadline_s=300,
        poll_s=0.5,
        explain=lambda: served.kubectl("get", "pods,events", "--output=wide"),
    )
    with served.load(connections=CONNECTIONS) as client:
        served.await_ready()
        report = finish(client)
    assert report.failed == 0, report.failures[:5]
