"""A counting client calls a model while its parts are upgraded, taken away and killed."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from tests.node import helm, pods, product
from tests.support.until import until

from fairlead_cli import load
from fairlead_cli.local.node import release

REQUESTS = 30_000
CONNECTIONS = 8


@pytest.fixture
def values(served: product.Product, tmp_path: pathlib.Path) -> pathlib.Path:
    return helm.values_file(served.node, release.values(served.node, workers=2), tmp_path)


def scale(served: product.Product, count: int) -> None:
    """Have so many replicas, and wait until they serve."""
    patch = json.dumps({"spec": {"scaling": {"replicas": count}}})
    served.kubectl("patch", "mdep/doubling", "--type=merge", f"--patch={patch}")
    until(lambda: served.model()["status"].get("readyReplicas") == count, f"{count} replicas", deadline_s=180)
    served.await_ready()


@pytest.fixture
def two_replicas(served: product.Product) -> product.Product:
    """One on each worker, unless a worker was drained before: Ray moves none (decision 0066)."""
    scale(served, 2)
    return served


def run_through(served: product.Product, *steps: Callable[[], object]) -> load.Report:
    """The report of at least REQUESTS requests, with the steps one after the other meanwhile."""
    with served.load(connections=CONNECTIONS) as client:
        for step in steps:
            _go_on(client, 1000)
            step()
        _go_on(client, max(1000, REQUESTS - client.progress().requests))
        return client.stop()


def _go_on(client: load.Background, more: int) -> None:
    enough = client.progress().requests + more
    client.wait_until(lambda progress: progress.requests >= enough, timeout_s=600)


def print_report(report: load.Report) -> None:
    gap = f"longest gap {report.longest_gap_s:.2f} s"
    print(f"\n{report.requests} requests, {report.failed} failed, {gap}, {report.latency}, {report.failures[:3]}")


def assert_none_failed(report: load.Report) -> None:
    print_report(report)
    assert report.failed == 0, report.failures[:5]
    assert report.requests >= REQUESTS


def operators(served: product.Product) -> list[str]:
    selector = "--selector=app.kubernetes.io/component=operator"
    where = (f"--namespace={helm.SYSTEM}", selector, "--output=jsonpath={.items[*].metadata.name}")
    return pods.run(served.node, "get", "pods", *where).split()


def leader(served: product.Product) -> str:
    where = (f"--namespace={helm.SYSTEM}", "--output=jsonpath={.spec.holderIdentity}")
    return pods.run(served.node, "get", "lease/fairlead-operator", *where).rpartition("_")[0]


def uids(served: product.Product) -> set[str]:
    """The pods that serve."""
    return {each["metadata"]["uid"] for each in served.pods(product.PARTS)}


def try_to_evict(served: product.Product, namespace: str, name: str) -> bool:
    """As `kubectl drain` does; whether the disruption budget allowed it."""
    asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    done = served.node.kubectl("create", "--raw", path, "--filename=-", input=json.dumps(asked))
    assert done.returncode == 0 or "disruption budget" in done.stderr, done.stderr
    return done.returncode == 0


def test_the_operator_is_upgraded_rolled_back_and_reinstalled(
    two_replicas: product.Product, values: pathlib.Path
) -> None:
    node, before = two_replicas.node, uids(two_replicas)
    chart, how = str(helm.CHART), ("--wait", "--timeout=5m")
    other = f"--values={values}", "--set=operator.logLevel=debug"
    report = run_through(
        two_replicas,
        lambda: helm.run(node, "upgrade", helm.RELEASE, chart, *other, *how),
        lambda: helm.run(node, "rollback", helm.RELEASE, *how),
        lambda: helm.run(node, "uninstall", helm.RELEASE, *how),
        lambda: helm.run(node, "install", helm.RELEASE, chart, f"--values={values}", *how),
        lambda: until(lambda: leader(two_replicas) in operators(two_replicas), "an operator that works"),
    )
    assert_none_failed(report)
    two_replicas.await_ready()
    assert uids(two_replicas) == before


def test_the_working_operator_is_killed_and_another_is_evicted(two_replicas: product.Product) -> None:
    before = uids(two_replicas)

    def kill() -> None:
        name = leader(two_replicas)
        where = (f"--namespace={helm.SYSTEM}", "--force", "--grace-period=0")
        pods.run(two_replicas.node, "delete", f"pod/{name}", *where)
        until(lambda: leader(two_replicas) not in ("", name), "another operator that works")

    def evict_leader() -> None:
        until(lambda: len(operators(two_replicas)) == 2, "two operators")
        name = leader(two_replicas)
        until(lambda: try_to_evict(two_replicas, helm.SYSTEM, name), "an eviction that the budget allows")
        until(lambda: leader(two_replicas) not in ("", name), "another operator that works")

    assert_none_failed(run_through(two_replicas, kill, evict_leader))
    assert uids(two_replicas) == before


def test_the_gateway_pods_are_replaced(two_replicas: product.Product) -> None:
    """By a restart of their Deployment, and each by an eviction."""
    selector = "app.kubernetes.io/name=fairlead-gateway"

    def evict(name: str) -> None:
        until(lambda: len(two_replicas.ready_pods(selector)) == 2, "two gateways", deadline_s=300)
        until(lambda: try_to_evict(two_replicas, two_replicas.namespace, name), "an eviction that the budget allows")
        until(
            lambda: name not in [each["metadata"]["name"] for each in two_replicas.pods(selector)],
            "the gateway to be gone",
            deadline_s=180,
        )

    def restart() -> None:
        two_replicas.kubectl("rollout", "restart", "deployment/fairlead-gateway")
        two_replicas.kubectl("rollout", "status", "deployment/fairlead-gateway", "--timeout=300s")

    def evict_each() -> None:
        for name in two_replicas.ready_pods(selector):
            evict(name)

    assert_none_failed(run_through(two_replicas, restart, evict_each))


def workers(served: product.Product) -> list[str]:
    return served.ready_pods("ray.io/node-type=worker")


def test_a_worker_is_drained(two_replicas: product.Product) -> None:
    """Ray starts its replicas on the other worker before it ends, and KubeRay replaces it."""
    until(lambda: len(workers(two_replicas)) == 2, "two workers", deadline_s=300)
    name = workers(two_replicas)[0]

    def drain() -> None:
        assert try_to_evict(two_replicas, two_replicas.namespace, name)
        until(lambda: name not in served_pods(two_replicas), "the worker to be gone", deadline_s=180, poll_s=0.5)

    report = run_through(two_replicas, drain)
    assert_none_failed(report)
    until(lambda: len(workers(two_replicas)) == 2, "two workers", deadline_s=300)


def served_pods(served: product.Product) -> list[str]:
    return [each["metadata"]["name"] for each in served.pods("ray.io/node-type=worker")]


def test_a_worker_is_killed(two_replicas: product.Product) -> None:
    """What it was answering is lost; the other one answers everything else."""
    until(lambda: len(workers(two_replicas)) == 2, "two workers", deadline_s=300)
    # After a drain both replicas may be on one worker. A second one is started on the other.
    scale(two_replicas, 1)
    scale(two_replicas, 2)
    name = workers(two_replicas)[0]
    report = run_through(
        two_replicas,
        lambda: two_replicas.kubectl("delete", f"pod/{name}", "--force", "--grace-period=0"),
        lambda: until(lambda: len(workers(two_replicas)) == 2, "two workers", deadline_s=300, poll_s=0.5),
    )
    print_report(report)
    assert report.failed <= CONNECTIONS


def starts_of_workers(served: product.Product) -> dict[str, int]:
    """How often the container of each worker's pod was started again."""
    found = served.pods("ray.io/node-type=worker")
    return {each["metadata"]["name"]: each["status"]["containerStatuses"][0]["restartCount"] for each in found}


def test_the_head_is_killed(two_replicas: product.Product) -> None:
    """Without GCS fault tolerance the workers end with it: requests fail until Ray and the replicas are back."""
    two_replicas.await_ready()
    (name,) = two_replicas.ready_pods("ray.io/node-type=head")
    before = starts_of_workers(two_replicas)
    report = run_through(
        two_replicas,
        lambda: two_replicas.kubectl("delete", f"pod/{name}", "--force", "--grace-period=0"),
        lambda: until(
            lambda: two_replicas.ready_pods("ray.io/node-type=head") not in ([], [name]), "another head", deadline_s=300
        ),
        lambda: until(
            lambda: all(before.get(each, -1) < count for each, count in starts_of_workers(two_replicas).items()),
            "workers that began again",
            deadline_s=300,
            explain=lambda: starts_of_workers(two_replicas),
        ),
        lambda: until(lambda: two_replicas.predict()[0] == 200, "a right answer", deadline_s=300, poll_s=0.5),
    )
    print_report(report)
    two_replicas.await_ready()
