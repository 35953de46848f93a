"""PersistentVolumeClaims on the node, and a pod that writes and reads what is on one."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

from tests.node import pods

from fairlead_cli.local.node import cluster

MOUNTED_AT = "/volume"


def claim(name: str, *, access: str = "ReadWriteOnce", class_name: str | None = None) -> dict[str, object]:
    """A claim of 10 MiB, of the default class unless one is named."""
    spec: dict[str, Any] = {"accessModes": [access], "resources": {"requests": {"storage": "10Mi"}}}
    if class_name is not None:
        spec["storageClassName"] = class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def user(node: cluster.NodeCluster, name: str, *, claim_name: str) -> dict[str, object]:
    """A Deployment of one pod that has the claim's volume."""
    deployment, _ = pods.web(node, name)
    template: Any = deployment["spec"]
    pod = template["template"]["spec"]
    pod["volumes"] = [{"name": "claim", "persistentVolumeClaim": {"claimName": claim_name}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "claim", "mountPath": MOUNTED_AT}]
    return deployment


def run_in(node: cluster.NodeCluster, namespace: str, name: str, script: str, *, content: bytes = b"") -> str:
    """Run a shell script in the pod of a `user`, with `content` as its input in base64; its output."""
    what = ("exec", "--stdin", f"deployment/{name}", "--", "sh", "-ec", script)
    return pods.run(node, f"--namespace={namespace}", *what, text=base64.b64encode(content).decode())


def folder(node: cluster.NodeCluster, namespace: str, name: str) -> pathlib.Path:
    """Where this machine has the volume that a claim is bound to."""
    volume = pods.run(node, f"--namespace={namespace}", "get", f"pvc/{name}", "--output=jsonpath={.spec.volumeName}")
    assert volume, "the claim is not bound"
    spec = json.loads(pods.run(node, "get", f"pv/{volume}", "--output=json"))["spec"]
    path = pathlib.Path(spec["hostPath"]["path"])
    return node.root / path.relative_to("/") if path.is_relative_to("/var") else path
