"""NetworkPolicies that are enforced: the product's own, over pods that stand in for its pods by label and port.

They stay enforced for the tests that follow. Each port is open to some pod while it is closed to another, so it is the
policy that closes it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import yaml
from tests.node import helm, pods
from tests.support.until import until

from fairlead_cli.local.node import cluster
from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway, network

MONITORING, OPERATOR, STRANGERS = "policies-monitoring", "policies-operator", "policies-strangers"
WATCHED, UNWATCHED = "policies-watched", "policies-unwatched"
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
RAY = {names.LABEL_CLUSTER: "one"}
GCS, REPLICA = 6379, 31000
# What the chart asks for, and no policy depends on.
IMAGES = ("operator", "servingClass", "servingClass.gateway")
PORTS = {
    "gateway": (gateway.DATA_PORT, gateway.ADMIN_PORT, gateway.INTERNAL_PORT),
    "ray": (GCS, REPLICA, network.DASHBOARD_PORT, network.METRICS_PORT, ray_cluster.DIRECTORY_PORT),
}
OPEN_TO_ALL = {("gateway", gateway.DATA_PORT)}
OPEN_TO_OPERATOR = OPEN_TO_ALL | {
    ("gateway", gateway.ADMIN_PORT),
    ("gateway", gateway.INTERNAL_PORT),
    ("ray", network.DASHBOARD_PORT),
}
OPEN_TO_PROMETHEUS = OPEN_TO_ALL | {
    ("gateway", gateway.ADMIN_PORT),
    ("ray", network.METRICS_PORT),
    ("ray", ray_cluster.DIRECTORY_PORT),
}
OPEN_TO_NODES = OPEN_TO_ALL | {("gateway", gateway.INTERNAL_PORT), *(("ray", port) for port in PORTS["ray"])}
_LISTEN = """
import socket, sys, threading
def accept(port):
    listening = socket.create_server(("", port))
    while True:
        listening.accept()[0].close()
threads = [threading.Thread(target=accept, args=(int(port),)) for port in sys.argv[1:]]
for each in threads:
    each.start()
"""
# What is refused by a policy is answered with an ICMP message; what is dropped is not answered at all.
_CONNECT = """
import json, socket, sys
reached = []
for number, address in enumerate(sys.argv[1:]):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except (ConnectionRefusedError, TimeoutError):
        continue
    reached.append(number)
print(json.dumps(reached))
"""
Place = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A running pod that listens and connects."""

    node: cluster.NodeCluster
    namespace: str
    name: str

    @property
    def address(self) -> str:
        where = (f"--namespace={self.namespace}", f"--selector=app={self.name}")
        return pods.run(self.node, "get", "pods", *where, "--output=jsonpath={.items[0].status.podIP}")

    def reaches(self, addresses: Sequence[str]) -> list[int]:
        """The numbers of those that it can connect to."""
        where = (f"--namespace={self.namespace}", "exec", f"deployment/{self.name}", "--")
        return list(json.loads(pods.run(self.node, *where, "python3", "-c", _CONNECT, *addresses)))


def stand_in(
    node: cluster.NodeCluster, namespace: str, name: str, labels: Mapping[str, str], ports: Sequence[int] = (9999,)
) -> Pod:
    """A pod with these labels that listens on these ports; the first one has the name `http`."""
    deployment, _ = pods.web(node, name)
    template: Any = deployment["spec"]
    template["selector"]["matchLabels"] = template["template"]["metadata"]["labels"] = {**labels, "app": name}
    (container,) = template["template"]["spec"]["containers"]
    container |= {
        "command": ["python3", "-c", _LISTEN, *map(str, ports)],
        "ports": [{"name": "http", "containerPort": ports[0]}],
        "readinessProbe": {"tcpSocket": {"port": ports[0]}, "periodSeconds": 1},
    }
    pods.apply(node, [deployment], namespace=namespace)
    return Pod(node=node, namespace=namespace, name=name)


def apply_policies(node: cluster.NodeCluster, namespace: str, callers: network.Callers) -> None:
    """The two that the operator makes in a namespace of models."""
    made = {names.GATEWAY: network.gateway_policy(callers), names.RAY_POLICY: network.ray_policy(callers)}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    items = [{**kind, **body, "metadata": {"name": name, "namespace": namespace}} for name, body in made.items()]
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    pods.run(node, "apply", "--server-side", "--filename=-", text=json.dumps(listed))


@pytest.fixture(scope="module")
def enforced(node: cluster.NodeCluster) -> Iterator[cluster.NodeCluster]:
    node.enforce_policies()
    yield node
    where = ("--wait=false", "--ignore-not-found")
    pods.run(node, "delete", "namespace", MONITORING, OPERATOR, STRANGERS, WATCHED, UNWATCHED, *where)


@pytest.fixture(scope="module")
def callers(enforced: cluster.NodeCluster) -> Mapping[str, Pod]:
    """Pods outside of the namespaces of models."""
    return {
        "operator": stand_in(enforced, OPERATOR, "operator", network.OPERATOR_LABELS),
        "a pod beside the operator": stand_in(enforced, OPERATOR, "neighbour", {}),
        "prometheus": stand_in(enforced, MONITORING, "prometheus", PROMETHEUS),
        "its neighbour": stand_in(enforced, MONITORING, "neighbour", {}),
        "a stranger": stand_in(enforced, STRANGERS, "stranger", {}),
        "a stranger with its label": stand_in(enforced, STRANGERS, "impostor", PROMETHEUS),
    }


def reached(pod: Pod, targets: Mapping[str, Pod]) -> set[Place]:
    places = [(name, port) for name in targets for port in PORTS[name]]
    addresses = {name: target.address for name, target in targets.items()}
    return {places[number] for number in pod.reaches([f"{addresses[name]}:{port}" for name, port in places])}


@pytest.mark.parametrize(
    ("namespace", "prometheus", "open_to_prometheus"),
    [
        pytest.param(WATCHED, MONITORING, OPEN_TO_PROMETHEUS, id="a Prometheus is named"),
        pytest.param(UNWATCHED, None, OPEN_TO_ALL, id="none is named"),
    ],
)
def test_each_port_of_a_namespace_is_open_to_those_who_need_it_and_to_nobody_else(
    enforced: cluster.NodeCluster,
    callers: Mapping[str, Pod],
    namespace: str,
    prometheus: str | None,
    open_to_prometheus: set[Place],
) -> None:
    targets = {
        "gateway": stand_in(enforced, namespace, "gateway", gateway.selector(), PORTS["gateway"]),
        "ray": stand_in(enforced, namespace, "ray", RAY, PORTS["ray"]),
    }
    inside = {
        "the gateway": targets["gateway"],
        "another Ray node": stand_in(enforced, namespace, "other-node", {names.LABEL_CLUSTER: "two"}),
        "a pod beside them": stand_in(enforced, namespace, "beside", {}),
    }
    apply_policies(enforced, namespace, network.Callers(operator=OPERATOR, prometheus=prometheus))
    expected = {
        "operator": OPEN_TO_OPERATOR,
        "a pod beside the operator": OPEN_TO_ALL,
        "prometheus": open_to_prometheus,
        "its neighbour": OPEN_TO_ALL,
        "a stranger": OPEN_TO_ALL,
        "a stranger with its label": OPEN_TO_ALL,
        # No policy stands between a pod and itself.
        "the gateway": OPEN_TO_NODES | {("gateway", gateway.ADMIN_PORT)},
        "another Ray node": OPEN_TO_NODES,
        "a pod beside them": OPEN_TO_ALL,
    }
    found: dict[str, set[Place]] = {}

    def is_as_expected() -> bool:
        found.update({name: reached(pod, targets) for name, pod in {**callers, **inside}.items()})
        return found == expected

    until(is_as_expected, "the policies' effect", deadline_s=120, poll_s=1, explain=lambda: found)


def test_the_operator_s_pod_has_one_port_that_is_open_to_prometheus(
    enforced: cluster.NodeCluster, callers: Mapping[str, Pod]
) -> None:
    """The chart's policy; before it is there, both ports are open to all."""
    images = [f"--set={part}.image.{value}" for part in IMAGES for value in ("repository=any", "tag=any")]
    watched = f"--set=monitoring.namespace={MONITORING}"
    rendered = helm.run(enforced, "template", helm.RELEASE, str(helm.CHART), *images, watched)
    (policy,) = (each for each in yaml.safe_load_all(rendered) if each and each["kind"] == "NetworkPolicy")
    policy["metadata"]["namespace"] = OPERATOR
    labels = policy["spec"]["podSelector"]["matchLabels"]
    pod = stand_in(enforced, OPERATOR, "product", labels, (8080, 9999))
    addresses = [f"{pod.address}:{port}" for port in (8080, 9999)]
    strangers = [callers[name] for name in ("a stranger", "a stranger with its label", "its neighbour")]
    for each in (*strangers, callers["prometheus"]):
        until(lambda each=each: each.reaches(addresses) == [0, 1], "two open ports", poll_s=1)
    pods.run(enforced, "apply", "--server-side", "--filename=-", text=json.dumps(policy))
    until(lambda: callers["prometheus"].reaches(addresses) == [0], "one port is open to Prometheus", poll_s=1)
    for each in strangers:
        until(lambda each=each: each.reaches(addresses) == [], "none is open to others", poll_s=1)


def test_up_starts_it_again_on_a_node_that_had_it(enforced: cluster.NodeCluster) -> None:
    os.kill(enforced.pid("kube-router"), signal.SIGKILL)
    until(lambda: not enforced.states()["kube-router"], "its end")
    enforced.up()
    assert enforced.states()["kube-router"]
