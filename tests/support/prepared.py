"""A namespace that the real operator prepares by itself, on a real API server without any pods."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.support import leases, operated, serving_classes
from tests.support.operator_process import OperatorProcess
from tests.support.until import until

from fairlead_cli.local import cluster
from fairlead_operator.state import infrastructure

KINDS = (
    infrastructure.SECRET,
    infrastructure.SERVICE,
    infrastructure.SERVICE_ACCOUNT,
    infrastructure.DEPLOYMENT,
    infrastructure.ROLE,
    infrastructure.ROLE_BINDING,
    infrastructure.DISRUPTION_BUDGET,
    infrastructure.NETWORK_POLICY,
    infrastructure.RAY_CLUSTER,
)
LABELS = "app.kubernetes.io/managed-by=fairlead,app.kubernetes.io/part-of=fairlead"
RAY_CLUSTERS: Mapping[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rayclusters.ray.io"},
    "spec": {
        "group": "ray.io",
        "scope": "Namespaced",
        "names": {
            "kind": "RayCluster",
            "listKind": "RayClusterList",
            "plural": "rayclusters",
            "singular": "raycluster",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                            for name in ("spec", "status")
                        },
                    }
                },
            }
        ],
    },
}
"""A stand-in for KubeRay's CRD: what a RayCluster looks like is the node's tests' to find out."""
Objects = Mapping[str, dict[str, Any]]


class Prepared:
    """The operator without ``--ray`` and ``--gateway``, bound in one namespace."""

    def __init__(self, kubernetes: cluster.LocalCluster, folder: Path) -> None:
        self.kubernetes = kubernetes
        self.folder = folder
        self.namespace = f"p{uuid.uuid4().hex[:10]}"
        self.classes: set[str] = set()

    def __enter__(self) -> Prepared:
        self.kubectl("create", "namespace", self.namespace, scoped=False)
        operated.grant(self.kubernetes, self.namespace)
        leases.take_away(self.kubernetes)
        kubeconfig = self.kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
        flags = ("--kubeconfig", str(kubeconfig), "--namespace", self.namespace, "--log-level", "debug")
        self.operator = OperatorProcess(flags, log=self.folder / "operator.log", is_forked=True)
        self.operator.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.operator.stop()
        for name in self.classes:
            self.kubectl("delete", "sclass", name, "--ignore-not-found", scoped=False)

    def kubectl(self, *arguments: str, scoped: bool = True, input_text: str | None = None) -> str:
        """What kubectl prints; its failure is the test's."""
        where = ("-n", self.namespace) if scoped else ()
        done = self.kubernetes.kubectl(*where, *arguments, input=input_text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, body: Mapping[str, Any]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input_text=yaml.safe_dump(dict(body)))

    def apply_class(self, name: str, **changes: Any) -> None:
        self.classes.add(name)
        self.kubectl("apply", "-f", "-", scoped=False, input_text=json.dumps(serving_classes.manifest(name, **changes)))

    def apply_model(self, name: str, **spec: Any) -> None:
        self.apply(operated.manifest(name, "file:///models/good", spec))

    def objects(self) -> Objects:
        """Everything of ours in the namespace, as KIND/NAME."""
        kinds = ",".join(f"{kind.plural}.{kind.api_version.rpartition('/')[0]}".rstrip(".") for kind in KINDS)
        done = self.kubernetes.kubectl("-n", self.namespace, "get", kinds, "-l", LABELS, "-o", "json")
        if "the server doesn't have a resource type" in done.stderr:
            return {}
        assert done.returncode == 0, done.stderr
        return {f"{each['kind']}/{each['metadata']['name']}": each for each in json.loads(done.stdout)["items"]}

    def ray_clusters(self) -> set[str]:
        return {name.partition("/")[2] for name in self.objects() if name.startswith("RayCluster/")}

    def until_prepared(self, *, clusters: int = 1) -> Objects:
        """Everything is there: ten objects, and three for each Ray cluster."""
        until(
            lambda: len(self.objects()) == 10 + 3 * clusters,
            "the namespace has what its models need",
            explain=lambda: f"{sorted(self.objects())}\n{self.operator.tail()}",
        )
        return self.objects()

    def condition(self, what: str, kind: str) -> dict[str, Any]:
        """The condition of an object, as KIND/NAME."""
        found = json.loads(self.kubectl("get", what, "-o", "json"))
        conditions = found.get("status", {}).get("conditions", [])
        return next((dict(each) for each in conditions if each["type"] == kind), {})

    def until_reason(self, what: str, reason: str, *, kind: str = "Ready") -> str:
        """The message of a condition once it has this reason."""
        until(
            lambda: self.condition(what, kind).get("reason") == reason,
            f"{what} is {reason}",
            explain=lambda: f"{self.condition(what, kind)}\n{self.operator.tail()}",
        )
        return str(self.condition(what, kind)["message"])
