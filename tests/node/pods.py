"""Pods for tests of the node: a web server of Python's own, in an image that the project builds anyway."""

from __future__ import annotations

import json

from fairlead_cli.local.node import cluster

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def web(node: cluster.NodeCluster, name: str, *, replicas: int = 1) -> list[dict[str, object]]:
    """A Deployment and its Service on port 80."""
    labels = {"app": name}
    container = {
        "name": "web",
        "image": node.ensure_image("base"),
        "command": ["python3", "-m", "http.server", "8000", "--directory", "/usr/share"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    return [deployment, service]


def apply(node: cluster.NodeCluster, objects: list[dict[str, object]], *, namespace: str) -> None:
    """Apply them in a namespace, made where it is missing, and wait for the Deployments."""
    here = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    for some in ([here], objects):
        items = {"apiVersion": "v1", "kind": "List", "items": some}
        where = [f"--namespace={namespace}"] if some is objects else []
        run(node, "apply", "--server-side", "--filename=-", *where, text=json.dumps(items))
    for each in objects:
        if each["kind"] == "Deployment":
            name = f"deployment/{each['metadata']['name']}"  # type: ignore[index]
            run(node, "rollout", "status", name, f"--namespace={namespace}", "--timeout=240s")


def placed(node: cluster.NodeCluster, *where: str) -> dict[str, str]:
    """The node of each pod that is not ending; `where` are arguments of `kubectl get`."""
    found = json.loads(run(node, "get", "pods", "--output=json", *where))["items"]
    staying = (each for each in found if "deletionTimestamp" not in each["metadata"])
    return {each["metadata"]["name"]: each["spec"].get("nodeName", "") for each in staying}


def run(node: cluster.NodeCluster, *arguments: str, text: str | None = None) -> str:
    """Kubectl as admin; fails with its error output."""
    done = node.kubectl(*arguments, input=text)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout
