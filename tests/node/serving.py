"""A namespace that serves models on the node: a RayCluster, a gateway, and a web server with the models' archives."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

from tests.node import pods
from tests.support.until import until

from fairlead_cli.local.node import cluster
from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.state.serving_class import GatewayPods, PodSize, RayPods, ServingClass

MIB = 1024**2
TOKEN = "e" * 64
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Where the parts of a namespace are reached: `cluster` is the RayCluster's name."""

    node: cluster.NodeCluster
    namespace: str
    cluster: str

    @property
    def ray_url(self) -> str:
        return f"http://{self.cluster}-head-svc.{self.namespace}:8265"

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The namespace's pods with these labels."""
        where = (f"--namespace={self.namespace}", f"--selector={selector}", "--output=json")
        return list(json.loads(pods.run(self.node, "get", "pods", *where))["items"])

    def workers(self) -> list[dict[str, Any]]:
        """The pods that replicas run in."""
        return self.pods("ray.io/node-type=worker")

    def gateway_address(self) -> str:
        """The address of the gateway's Service."""
        where = (f"--namespace={self.namespace}", "--output=jsonpath={.spec.clusterIP}")
        return pods.run(self.node, "get", "service/gateway", *where)


def start_ray(node: cluster.NodeCluster, namespace: str) -> Serving:
    """Make the namespace and its RayCluster, and wait until head and worker are ready."""
    small = ServingClass(
        name="small",
        image=node.ensure_image("ray-node"),
        ray_version="2.60.0",
        head=RayPods(size=PodSize(cpu_millicores=0, memory_bytes=2048 * MIB)),
        worker=RayPods(size=PodSize(cpu_millicores=0, memory_bytes=3072 * MIB)),
        workers_min=1,
        workers_max=2,
        gateway=GatewayPods(
            image=node.ensure_image("gateway"),
            replicas=1,
            service_type="ClusterIP",
            size=PodSize(cpu_millicores=0, memory_bytes=512 * MIB),
        ),
    )
    made: Any = ray_cluster.build(small, namespace=namespace).body
    # Replicas ask for logical processors; the machine's two are shared by all pods here.
    made["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] = "4"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.TOKEN_SECRET},
        "stringData": {"auth_token": TOKEN},
    }
    level = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}}
    pods.run(node, "apply", "--server-side", "--filename=-", text=json.dumps(level))
    pods.apply(node, [secret, made], namespace=namespace)
    name = made["metadata"]["name"]
    asked = ("get", f"raycluster/{name}", f"--namespace={namespace}", "--output=jsonpath={.status.state}")
    until(
        lambda: pods.run(node, *asked) == "ready",
        "a RayCluster that is ready",
        deadline_s=600,
        poll_s=1,
        explain=lambda: pods.run(node, "describe", "pods", f"--namespace={namespace}"),
    )
    return Serving(node=node, namespace=namespace, cluster=name)


def start_gateway(at: Serving) -> None:
    """Its node list is given by address: what follows EndpointSlices is still to come."""
    (worker,) = at.workers()
    labels = {"app": "gateway"}
    container = {
        "name": "gateway",
        "image": at.node.ensure_image("gateway"),
        "args": [
            f"--namespace={at.namespace}",
            "--listen=0.0.0.0:8000",
            "--admin=0.0.0.0:8001",
            "--state-dir=/run/fairlead",
            f"--node={at.cluster}={worker['status']['podIP']}:{ray_cluster.DIRECTORY_PORT}",
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8001}, "periodSeconds": 2},
        "securityContext": pods.RESTRICTED,
        "volumeMounts": [{"name": "state", "mountPath": "/run/fairlead"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "serviceAccountName": "fairlead-gateway",
        "containers": [container],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        "securityContext": {"fsGroup": 10001},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gateway"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    ports = [{"name": "data", "port": 8000}, {"name": "admin", "port": 8001}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gateway"},
        "spec": {"selector": labels, "ports": ports},
    }
    pods.apply(at.node, [deployment, service], namespace=at.namespace)


def publish_model(at: Serving, folder: pathlib.Path) -> str:
    """Put the archive of a tiny model behind a web server; its URL for replicas."""
    archive = folder / "doubling.tar.gz"
    subprocess.run([sys.executable, "-m", "tests.node.doubling_model", str(archive)], check=True, capture_output=True)
    content = base64.b64encode(archive.read_bytes()).decode()
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "archives"},
        "binaryData": {archive.name: content},
    }
    deployment, service = pods.web(at.node, "store")
    pod: Any = deployment["spec"]
    pod = pod["template"]["spec"]
    pod["volumes"] = [{"name": "archives", "configMap": {"name": "archives"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "archives", "mountPath": "/archives"}]
    pod["containers"][0]["command"] = ["python3", "-m", "http.server", "8000", "--directory", "/archives"]
    pods.apply(at.node, [held, deployment, service], namespace=at.namespace)
    return f"http://store.{at.namespace}.svc.cluster.local/{archive.name}"
