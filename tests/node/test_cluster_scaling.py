"""The workers of a RayCluster come with the load and go with it, and what they wait for is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.node import own_class, pods, product
from tests.support.until import until

from fairlead_cli import load
from fairlead_operator.api import quantities

REQUESTS = 10_000
MOST = 4
IDLE_S = 10
WORKER = "ray.io/node-type=worker"
WORKER_MEMORY = "2Gi"
SERVING = {
    "resources": {"cpu": "1", "memory": "1Gi"},
    # Each request waits for others: a load that takes no processor, so a busy machine scales as an idle one does.
    "batching": {"maxDelayMilliseconds": 100},
}
SPEC = {
    "serving": SERVING,
    "scaling": {
        "minReplicas": 1,
        "maxReplicas": 4,
        "target": {"ongoingRequests": 1},
        "scaleDown": {"stabilizationSeconds": 5},
    },
}


@pytest.fixture(scope="module")
def scaled(installed: product.Product, url: str) -> Iterator[product.Product]:
    """A model whose replica takes a whole worker. There are 1 to 4 workers."""
    # One logical processor, whatever the share of the machine's.
    worker = {"cpu": "100m", "memory": WORKER_MEMORY}
    fields = {"worker": worker, "workers": {"min": 1, "max": MOST, "idleSeconds": IDLE_S}}
    with own_class.namespace(installed.node, "scaling", class_name="scaled", class_fields=fields) as made:
        own_class.serve(made, "doubling", url, class_name="scaled", **SPEC)
        made.await_ready(deadline_s=600)
        yield made


def group(served: product.Product) -> dict[str, Any]:
    """The RayCluster's worker group."""
    (cluster,) = json.loads(served.kubectl("get", "rayclusters", "--output=json"))["items"]
    return dict(cluster["spec"]["workerGroupSpecs"][0])


def scaling(served: product.Product) -> dict[str, Any]:
    return dict(served.model()["status"].get("scaling", {}))


def explain(served: product.Product) -> str:
    """What every part has to say when something does not come in time."""
    (head,) = served.ready_pods("ray.io/node-type=head") or [""]
    log = served.kubectl("logs", f"pod/{head}", "--container=autoscaler", "--tail=40") if head else "no head is ready"
    return json.dumps(served.model()["status"]) + served.kubectl("get", "pods", "--output=wide") + log


def await_replicas(served: product.Product, count: int, *, deadline_s: float) -> None:
    """Wait until so many replicas serve, each of them on a worker of its own."""
    until(
        lambda: scaling(served).get("replicas") == served.model()["status"].get("readyReplicas") == count,
        f"{count} replicas that serve",
        deadline_s=deadline_s,
        poll_s=1,
        explain=lambda: explain(served),
    )


def desired_workers(served: product.Product) -> int:
    """What KubeRay keeps: Ray's autoscaler writes `replicas` only when it adds or removes a worker."""
    found = group(served)
    return max(int(found["replicas"]), int(found["minReplicas"]))


def await_workers(served: product.Product, count: int, *, deadline_s: float) -> None:
    until(
        lambda: len(served.pods(WORKER)) == len(served.ready_pods(WORKER)) == count == desired_workers(served),
        f"{count} workers",
        deadline_s=deadline_s,
        poll_s=1,
        explain=lambda: explain(served),
    )


def assert_none_failed(report: load.Report) -> None:
    gap = f"longest gap {report.longest_gap_s:.2f} s"
    print(f"\n{report.requests} requests, {report.failed} failed, {gap}, {report.latency}, {report.failures[:3]}")
    assert report.failed == 0, report.failures[:5]


def test_the_head_has_an_autoscaler_that_alone_may_use_the_api(scaled: product.Product) -> None:
    (head,) = scaled.pods("ray.io/node-type=head")
    containers = {each["name"]: each for each in head["spec"]["containers"]}
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    having = {name for name, each in containers.items() if folder in {m["mountPath"] for m in each["volumeMounts"]}}
    assert containers.keys() == {"ray-head", "autoscaler"}
    assert having == {"autoscaler"}
    assert containers["autoscaler"]["securityContext"]["readOnlyRootFilesystem"]


def test_workers_come_with_the_load_and_go_with_it(scaled: product.Product) -> None:
    await_workers(scaled, 1, deadline_s=300)
    with scaled.load(connections=1, rate_limit=5) as light:
        with scaled.load(connections=16) as heavy:
            await_replicas(scaled, MOST, deadline_s=600)
            await_workers(scaled, MOST, deadline_s=60)
            enough = heavy.progress().requests + 1000
            heavy.wait_until(lambda progress: progress.requests >= max(enough, REQUESTS), timeout_s=900)
            high = heavy.stop()
        await_replicas(scaled, 1, deadline_s=300)
        await_workers(scaled, 1, deadline_s=300)
        seen = light.progress().requests
        light.wait_until(lambda progress: progress.requests >= seen + 100, timeout_s=60)
        low = light.stop()
    assert_none_failed(high)
    assert_none_failed(low)
    assert high.requests >= REQUESTS


def test_a_worker_without_a_node_is_named_with_the_scheduler_s_reason(scaled: product.Product) -> None:
    """Ray asks for the worker, and it comes once the node has room."""
    await_workers(scaled, 1, deadline_s=300)
    fill(scaled)
    scaled.kubectl("patch", "mdep/doubling", "--type=merge", '--patch={"spec":{"scaling":{"replicas":2}}}')
    words = "1 worker pod can't be scheduled since "
    until(lambda: words in scaling(scaled).get("message", ""), words, deadline_s=120, explain=lambda: explain(scaled))
    message = scaling(scaled)["message"]
    print(f"\n{message}")
    assert message.startswith(
        "1 of 2 replicas; 1 waits for placement on the Ray cluster (1 CPU and 1024 MiB each) since "
    )
    assert message.endswith(": 0/1 nodes are available: 1 Insufficient memory.")
    assert scaling(scaled)["waitingSince"] is not None
    assert scaled.predict()[0] == 200
    scaled.kubectl("delete", "deployment/filler", "--timeout=60s")
    await_replicas(scaled, 2, deadline_s=300)
    scaled.kubectl("patch", "mdep/doubling", "--type=merge", '--patch={"spec":{"scaling":{"replicas":1}}}')
    await_workers(scaled, 1, deadline_s=300)


def fill(served: product.Product) -> None:
    """Leave less memory on the node than a worker asks for."""
    node = served.node
    (machine,) = json.loads(pods.run(node, "get", "nodes", "--output=json"))["items"]
    everything = json.loads(pods.run(node, "get", "pods", "--all-namespaces", "--output=json"))["items"]
    live = [each for each in everything if each["status"]["phase"] in ("Pending", "Running")]
    asked = sum(_memory(container) for each in live for container in each["spec"]["containers"])
    free = int(quantities.parse(machine["status"]["allocatable"]["memory"])) - asked
    left = int(quantities.parse(WORKER_MEMORY)) // 2
    deployment, _ = pods.web(node, "filler")
    container = deployment["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    container["resources"] = {"requests": {"memory": str(max(1, free - left))}}
    pods.apply(node, [deployment], namespace=served.namespace)


def _memory(container: dict[str, Any]) -> int:
    return int(quantities.parse(container.get("resources", {}).get("requests", {}).get("memory", "0")))


def test_what_no_worker_can_hold_is_refused_by_name(scaled: product.Product) -> None:
    before = {each["metadata"]["uid"] for each in scaled.pods(WORKER)}
    url = scaled.model()["spec"]["model"]["uri"]
    larger = {**SERVING, "resources": {"cpu": "2", "memory": "1Gi"}}
    own_class.serve(scaled, "large", url, class_name="scaled", **{**SPEC, "serving": larger})

    def message() -> str:
        conditions = scaled.model("large").get("status", {}).get("conditions", [])
        return "".join(each["message"] for each in conditions if each["reason"] == "ExceedsServingClass")

    until(message, "a refusal", deadline_s=60, explain=lambda: scaled.model("large"))
    assert (
        "2 CPU (spec.serving.resources.cpu), a worker has 1 CPU (spec.worker.cpu of ServingClass scaled)" in message()
    )
    assert {each["metadata"]["uid"] for each in scaled.pods(WORKER)} == before
    scaled.kubectl("delete", "mdep/large", "--timeout=60s")
