"""Karpenter beside a node: it adds nodes for pods that wait, and each is only an object that kwok keeps Ready.

Both run as processes in the network of the real node. No pod runs on a node of theirs: a pod that is scheduled there
stays in the phase Pending, and goes as soon as it is deleted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import rich.console
from tests.node import pods
from tests.support import go_programs
from tests.support.until import until

from fairlead_cli.local import loopback, progress
from fairlead_cli.local.node import cluster, sandbox

MODULES = ("karpenter", "kwok")
"""Each has a program of the name `kwok`: Karpenter's is named after its provider."""
POOL = "added"
POOL_LABEL = "karpenter.sh/nodepool"
SELECTOR = {POOL_LABEL: POOL}
"""The label that Karpenter gives to each node of the pool."""
TAINT = {"key": "tests.fairlead.dev/added", "effect": "NoSchedule"}
"""Of each node of the pool, so that no other pod of the node's tests waits there for ever."""
_KWOK_PORT, _METRICS_PORT, _HEALTH_PORT = 18080, 18081, 18082
# Reserved for documents: no machine has it, so nothing of the real node is taken for the kubelet of an added one.
_NO_ADDRESS = "192.0.2.1"
_STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-delete.yaml",
)
_DEFINITIONS = ("pkg/apis/crds", "kwok/apis/crds")
_CLAIMS = "nodeclaims.karpenter.sh"
_KARPENTER_ARGUMENTS = (
    "--disable-leader-election=true",
    f"--metrics-port={_METRICS_PORT}",
    f"--health-probe-port={_HEALTH_PORT}",
)
_LEFT = (("nodepools.karpenter.sh",), (_CLAIMS,), ("nodes", f"--selector={POOL_LABEL}={POOL}"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Karpenter:
    """The running processes; the folder has their logs."""

    node: cluster.NodeCluster
    folder: pathlib.Path

    def add_pool(self, *, empty_s: int) -> None:
        """From now on it may add nodes of one core. One without a pod goes after so many seconds."""
        kind = {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass"}
        reference = {"group": "karpenter.kwok.sh", "kind": kind["kind"], "name": POOL}
        wanted = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "karpenter.sh/capacity-type": "on-demand",
            "karpenter.kwok.sh/instance-cpu": "1",
        }
        template = {
            "nodeClassRef": reference,
            "requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in wanted.items()],
            "taints": [TAINT],
            "expireAfter": "Never",
        }
        pool = {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": POOL},
            "spec": {
                "template": {"spec": template},
                "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": f"{empty_s}s"},
                "limits": {"cpu": "4"},
            },
        }
        items = [{**kind, "metadata": {"name": POOL}}, pool]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        pods.run(self.node, "apply", "--server-side", "--filename=-", text=text)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes that it added and that are still there, by name."""
        found = json.loads(pods.run(self.node, "get", *_LEFT[-1], "--output=json"))["items"]
        return {each["metadata"]["name"]: each for each in found}

    def claims(self) -> dict[str, dict[str, Any]]:
        """Its NodeClaims, by the name of the node of each; the name is empty until there is a node."""
        found = json.loads(pods.run(self.node, "get", _CLAIMS, "--output=json"))["items"]
        return {each.get("status", {}).get("nodeName", ""): each for each in found}

    def explain(self) -> str:
        """What it has made, and the end of both logs."""
        made = pods.run(self.node, "get", f"nodepools,{_CLAIMS},nodes", "--output=wide")
        logs = (path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.log")))
        return "\n".join((made, *logs))


@contextlib.contextmanager
def running(node: cluster.NodeCluster, folder: pathlib.Path) -> Iterator[Karpenter]:
    """Start both. When the context ends, nothing of them and of their nodes is left on the node."""
    reporter = progress.RichReporter(rich.console.Console())
    karpenter, kwok = (go_programs.obtain(module, reporter) / "kwok" for module in MODULES)
    definitions = [go_programs.dependency("karpenter", "sigs.k8s.io/karpenter") / each for each in _DEFINITIONS]
    for each in definitions:
        pods.run(node, "apply", "--server-side", f"--filename={each}")
    pods.run(node, "wait", "--for=condition=Established", f"crd/{_CLAIMS}", "--timeout=60s")
    _remove_objects(node)  # of a run that was killed
    try:
        with (
            _process(node, folder, "kwok", [str(kwok), *_kwok_arguments(node)], port=_KWOK_PORT),
            _process(node, folder, "karpenter", [str(karpenter), *_KARPENTER_ARGUMENTS], port=_HEALTH_PORT),
        ):
            yield Karpenter(node=node, folder=folder)
    finally:
        _remove_objects(node)
        for each in definitions:
            pods.run(node, "delete", f"--filename={each}", "--ignore-not-found", "--timeout=60s")


def _kwok_arguments(node: cluster.NodeCluster) -> list[str]:
    stages = go_programs.dependency("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    return [
        f"--kubeconfig={node.kubeconfig}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-ip={_NO_ADDRESS}",
        "--node-port=0",
        f"--server-address={node.addresses.node}:{_KWOK_PORT}",
        *(f"--config={stages / each}" for each in _STAGES),
    ]


@contextlib.contextmanager
def _process(
    node: cluster.NodeCluster, folder: pathlib.Path, name: str, argv: list[str], *, port: int
) -> Iterator[None]:
    """A program that answers, in the node's network. It ends with the context, and where this process is killed."""
    inside = sandbox.Sandbox.enter(node.pid(sandbox.HOLDER), argv)
    environment = {**os.environ, "KUBECONFIG": str(node.kubeconfig)}
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", *inside],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )

    def answers() -> bool:
        assert process.poll() is None, f"{name} has ended: {path.read_text()}"
        return loopback.get_status(port, "/healthz", host=node.addresses.node) == http.HTTPStatus.OK

    try:
        until(answers, f"{name} answers", deadline_s=120, explain=path.read_text)
        yield
    finally:
        process.kill()
        process.wait()


def _remove_objects(node: cluster.NodeCluster) -> None:
    """While Karpenter does not run: its finalizers would wait for it."""
    for selection in _LEFT:
        for name in pods.run(node, "get", *selection, "--output=name").split():
            pods.run(node, "patch", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
            pods.run(node, "delete", name, "--ignore-not-found", "--timeout=60s")
