"""The product on the node: the chart with a ServingClass, a namespace with a model, and a client that counts."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.node import pods
from tests.support.until import until

from fairlead_cli import load
from fairlead_cli.local.node import cluster

MANIFEST = """\
apiVersion: fairlead.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: doubling
  namespace: {namespace}
spec:
  model:
    uri: {url}
    version: v1
"""
BROKEN = "broken.tar.gz"
"""Half of the archive of the tests' model, beside it."""
# What the operator makes in a namespace, by its labels.
MADE = "app.kubernetes.io/managed-by=fairlead,app.kubernetes.io/part-of=fairlead"
# The pods of Ray and of the gateways.
PARTS = "app.kubernetes.io/part-of=fairlead"
KINDS = (
    "rayclusters,deployments,services,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets"
)
_BODY = json.dumps({"instances": [[1.0, 2.0], [3.0, 4.0]]}).encode()
_ANSWER = b'{"predictions":[[2.0,4.0],[6.0,8.0]]}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A namespace of models on a node with the chart."""

    node: cluster.NodeCluster
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        """Its output, in the namespace; fails with its error output."""
        return pods.run(self.node, f"--namespace={self.namespace}", *arguments)

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Apply them in the namespace; those of the whole cluster, such as a ServingClass, are applied as well."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        where = f"--namespace={self.namespace}"
        pods.run(self.node, where, "apply", "--server-side", "--filename=-", text=json.dumps(listed))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The namespace's pods with these labels."""
        return list(json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"])

    def ready_pods(self, selector: str) -> list[str]:
        """The names of those that are ready and not ending."""
        return [each["metadata"]["name"] for each in self.pods(selector) if _is_ready(each)]

    def model(self, name: str = "doubling") -> dict[str, Any]:
        """A ModelDeployment."""
        return dict(json.loads(self.kubectl("get", f"mdep/{name}", "--output=json")))

    def is_ready(self, name: str = "doubling") -> bool:
        conditions = self.model(name).get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def await_ready(self, name: str = "doubling", *, deadline_s: float = 300) -> None:
        """Wait until the model's condition Ready is True."""
        until(
            lambda: self.is_ready(name),
            "a model that is ready",
            deadline_s=deadline_s,
            poll_s=0.5,
            explain=lambda: self.kubectl("get", "mdep,pods,events", "--output=wide") + json.dumps(self.model(name)),
        )

    def await_no_pods(self) -> None:
        """Wait until no pod of Ray or of a gateway is left."""
        until(lambda: not self.pods(PARTS), "no pod of the namespace's own", deadline_s=240, poll_s=1)

    def address(self) -> str:
        """Where clients reach the namespace's gateways, on port 80."""
        return self.kubectl("get", "service/fairlead-gateway", "--output=jsonpath={.spec.clusterIP}")

    def predict(self, name: str = "doubling") -> tuple[int, bytes]:
        """One request: the status and the body of its answer."""
        connection = http.client.HTTPConnection(self.address(), timeout=30)
        try:
            connection.request("POST", f"/v1/models/{name}:predict", body=_BODY)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def load(
        self,
        *,
        connections: int = 8,
        rate_limit: float | None = None,
        name: str = "doubling",
        authority: str | None = None,
    ) -> load.Background:
        """The counting client against the gateways' Service; an answer that isn't right counts as failed.

        `authority` is the address and port of another server of the model.
        """
        return load.background(
            load.Settings(
                url=f"http://{authority or self.address()}",
                model=name,
                path=f"/v1/models/{name}:predict",
                bodies=(_BODY,),
                expect_answers=(_ANSWER,),
                connections=connections,
                rate_limit=rate_limit,
            )
        )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in conditions
    )


def make_namespace(node: cluster.NodeCluster, namespace: str) -> Product:
    """A namespace at the Pod Security level `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    pods.run(node, "apply", "--server-side", "--filename=-", text=json.dumps(made))
    return Product(node=node, namespace=namespace)


def build_archive(folder: pathlib.Path) -> pathlib.Path:
    """The archive of the tests' model, a SavedModel in the folder `doubling`."""
    archive = folder / "doubling.tar.gz"
    subprocess.run([sys.executable, "-m", "tests.node.doubling_model", str(archive)], check=True, capture_output=True)
    return archive


def publish_model(node: cluster.NodeCluster, folder: pathlib.Path, *, namespace: str) -> str:
    """Put the archive of a tiny model behind a web server in a namespace of its own; its URL for replicas."""
    archive = build_archive(folder)
    content = archive.read_bytes()
    files = {archive.name: content, BROKEN: content[: len(content) // 2]}
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "archives"},
        "binaryData": {name: base64.b64encode(each).decode() for name, each in files.items()},
    }
    deployment, service = pods.web(node, "store")
    template: Any = deployment["spec"]
    pod = template["template"]["spec"]
    pod["volumes"] = [{"name": "archives", "configMap": {"name": "archives"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "archives", "mountPath": "/archives"}]
    pod["containers"][0]["command"] = ["python3", "-m", "http.server", "8000", "--directory", "/archives"]
    pods.apply(node, [held, deployment, service], namespace=namespace)
    return f"http://store.{namespace}.svc.cluster.local/{archive.name}"
