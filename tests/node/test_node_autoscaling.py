"""A Ray worker that waits for a node makes a node autoscaler add one, and the last model takes all added nodes with it.

The autoscaler is Karpenter itself. A node that it adds here runs no pod (`tests.node.karpenter`), so no replica becomes
ready. What is shown is what a model says while its worker waits, and that nodes come and go with the worker pods.
"""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.node import karpenter, own_class, product
from tests.support.until import until

from fairlead_cli.local.node import nodes

CLASS = "added-nodes"
HEAD, WORKER = "ray.io/node-type=head", "ray.io/node-type=worker"
GATEWAY = "app.kubernetes.io/name=fairlead-gateway"
DEADLINE_S = 60
SPEC: Mapping[str, Any] = {
    "serving": {"resources": {"cpu": "1", "memory": "512Mi"}, "requestTimeoutSeconds": 5},
    "rollout": {"progressDeadlineSeconds": DEADLINE_S},
}
EMPTY_S = 5
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
MOVES = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
WAITS = rf"0 of 1 replica; 1 waits for placement on the Ray cluster \(1 CPU and 512 MiB each\) since {TIME}; "
NO_NODE = (
    rf"1 worker pod can't be scheduled since {TIME}: "
    r"0/1 nodes are available: 1 node\(s\) didn't match Pod's node affinity/selector\."
)


@pytest.fixture(scope="module")
def autoscaler(installed: product.Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[karpenter.Karpenter]:
    """Karpenter, which has no pool to add nodes from yet."""
    with karpenter.running(installed.node, tmp_path_factory.mktemp("karpenter")) as started:
        yield started


@pytest.fixture(scope="module")
def served(installed: product.Product, url: str, autoscaler: karpenter.Karpenter) -> Iterator[product.Product]:
    """A model whose worker may run on added nodes alone. Half of a node's core is for it, so no two share a node."""
    tolerations = [{"key": karpenter.TAINT["key"], "operator": "Exists"}]
    worker = {"cpu": "500m", "memory": "1Gi", "nodeSelector": karpenter.SELECTOR, "tolerations": tolerations}
    fields = {"worker": worker, "workers": {"min": 1, "max": 1}}
    with own_class.namespace(installed.node, "added-nodes", class_name=CLASS, class_fields=fields) as made:
        own_class.serve(made, "doubling", url, class_name=CLASS, **SPEC)
        yield made


def scaling(served: product.Product) -> dict[str, Any]:
    return dict(served.model().get("status", {}).get("scaling") or {})


def await_message(served: product.Product, pattern: str) -> str:
    """The model's sentence about its replicas, once it is this one."""

    def message() -> str:
        found = re.fullmatch(pattern, scaling(served).get("message", ""))
        return found.group() if found else ""

    return until(
        message,
        pattern,
        deadline_s=600,
        poll_s=0.5,
        explain=lambda: json.dumps(served.model()) + served.kubectl("get", "pods,events", "--output=wide"),
    )


def await_workers_on_added_nodes(served: product.Product, autoscaler: karpenter.Karpenter, count: int) -> list[float]:
    """Wait until so many workers have a node of their own; the seconds that each was without one, the oldest first."""

    def placed() -> list[dict[str, Any]]:
        workers, nodes = served.pods(WORKER), autoscaler.nodes()
        used = {each["spec"].get("nodeName") for each in workers}
        return workers if len(workers) == len(used) == count and used == nodes.keys() else []

    workers = until(
        placed,
        f"{count} workers on added nodes",
        deadline_s=240,
        poll_s=0.5,
        explain=lambda: autoscaler.explain() + served.kubectl("get", "pods", "--output=wide"),
    )
    return [seconds_without_node(each) for each in sorted(workers, key=created)]


def created(pod: Mapping[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def seconds_without_node(pod: Mapping[str, Any]) -> float:
    (scheduled,) = (each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled")
    assert scheduled["status"] == "True"
    return (datetime.datetime.fromisoformat(scheduled["lastTransitionTime"]) - created(pod)).total_seconds()


def await_no_added_node(autoscaler: karpenter.Karpenter) -> float:
    """Wait until all are gone; the seconds that it took."""
    begun_s = time.monotonic()
    until(
        lambda: not autoscaler.nodes() and not autoscaler.claims(),
        "no added node",
        deadline_s=240,
        poll_s=0.5,
        explain=autoscaler.explain,
    )
    return time.monotonic() - begun_s


def read_annotations(served: product.Product, selector: str) -> list[dict[str, str]]:
    """The annotations that node autoscalers read, of each pod."""
    found = [each["metadata"].get("annotations", {}) for each in served.pods(selector)]
    return [{key: value for key, value in each.items() if key in STAYS} for each in found]


def await_deadline_passed(served: product.Product) -> None:
    """Wait until the replica has waited for longer than a candidate may take to become ready."""
    since = datetime.datetime.fromisoformat(scaling(served)["waitingSince"])
    late = since + datetime.timedelta(seconds=DEADLINE_S + 5)
    until(
        lambda: datetime.datetime.now(datetime.UTC) > late, "the progress deadline is over", deadline_s=120, poll_s=0.5
    )


def test_a_worker_that_waits_makes_a_node_come_and_the_last_model_takes_it_along(
    served: product.Product, autoscaler: karpenter.Karpenter
) -> None:
    print(f"\n{await_message(served, WAITS + NO_NODE)}")
    await_deadline_passed(served)
    await_message(served, WAITS + NO_NODE)
    assert not autoscaler.claims()
    assert read_annotations(served, HEAD) == [STAYS]
    assert read_annotations(served, WORKER) == [MOVES]
    assert read_annotations(served, GATEWAY) == [MOVES, MOVES]

    autoscaler.add_pool(empty_s=EMPTY_S)
    await_workers_on_added_nodes(served, autoscaler, 1)
    await_message(served, WAITS + r"1 worker pod starts\.")

    served.kubectl("patch", f"sclass/{CLASS}", "--type=merge", '--patch={"spec":{"workers":{"min":2,"max":2}}}')
    _, waited_s = await_workers_on_added_nodes(served, autoscaler, 2)
    await_message(served, WAITS + r"2 worker pods start\.")
    assert autoscaler.claims().keys() == autoscaler.nodes().keys()
    (head,) = served.pods(HEAD)
    assert head["spec"]["nodeName"] == nodes.FIRST.name

    served.kubectl("delete", "mdep/doubling", "--timeout=120s")
    served.await_no_pods()
    gone_s = await_no_added_node(autoscaler)
    print(f"the second worker had a node after {waited_s:.0f} s; both nodes were gone {gone_s:.0f} s after the pods")
