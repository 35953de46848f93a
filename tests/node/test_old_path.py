"""From `helm install` to a prediction: KubeRay's pods, the gateway's pod, and a manifest of fewer than 15 lines."""

from __future__ import annotations

import http.client
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.node import helm, pods, serving
from tests.support.until import until

from fairlead_cli.local.node import cluster
from fairlead_operator.api import names

NAMESPACE = "models"
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


@pytest.fixture(scope="module")
def served(node: cluster.NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Serving]:
    node.install_kuberay()
    at = serving.start_ray(node, NAMESPACE)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.TOKEN_SECRET},
        "stringData": {"auth_token": serving.TOKEN},
    }
    helm.make_namespace(node)
    pods.apply(node, [secret], namespace=helm.SYSTEM)
    gateway = f"http://gateway.{NAMESPACE}"
    values = {
        "servingClass": {"create": False},
        "namespaces": [NAMESPACE],
        "rayClusters": {f"{NAMESPACE}/{at.cluster}": at.ray_url},
        "rayTokenSecret": names.TOKEN_SECRET,
        "gateways": [{"namespace": NAMESPACE, "data": f"{gateway}:8000", "admin": f"{gateway}:8001"}],
    }
    helm.install(node, values, folder=tmp_path_factory.mktemp("values"))
    serving.start_gateway(at)
    yield at
    helm.uninstall(node)
    pods.run(node, "delete", f"namespace/{NAMESPACE}", "--timeout=240s")


def predict(at: serving.Serving, name: str, rows: list[list[float]]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(at.gateway_address(), 8000, timeout=30)
    try:
        connection.request("POST", f"/v1/models/{name}:predict", body=json.dumps({"instances": rows}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def ready(at: serving.Serving, name: str) -> bool:
    found = json.loads(pods.run(at.node, "get", f"mdep/{name}", f"--namespace={at.namespace}", "--output=json"))
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_a_manifest_becomes_a_prediction(served: serving.Serving, tmp_path: pathlib.Path) -> None:
    url = serving.publish_model(served, tmp_path)
    pods.run(served.node, "apply", "--filename=-", text=MANIFEST.format(url=url, namespace=served.namespace))
    until(
        lambda: ready(served, "doubling"),
        "a model that is ready",
        deadline_s=300,
        poll_s=0.5,
        explain=lambda: pods.run(served.node, "get", "mdep", "--all-namespaces", "--output=yaml"),
    )
    assert predict(served, "doubling", [[1.0, 2.0], [3.0, 4.0]]) == (200, {"predictions": [[2.0, 4.0], [6.0, 8.0]]})


def test_workers_are_forked_from_a_warm_process_although_kuberay_starts_ray(served: serving.Serving) -> None:
    (worker,) = served.workers()
    name = f"pod/{worker['metadata']['name']}"
    log = "/tmp/ray/session_latest/logs/warm_start.log"
    where = (f"--namespace={served.namespace}", name, "--container=ray-worker")
    output = pods.run(served.node, "exec", *where, "--", "cat", log)
    assert "ready after" in output
    assert "starts the ordinary way" not in output
