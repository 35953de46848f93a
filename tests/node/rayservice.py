"""KubeRay's RayService with the tests' model, on pods of the same image and size as those of a ServingClass."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

from tests.node import product

NAME = "peer"
APPLICATION = "doubling"
PORT = 8000
_CODE = pathlib.Path(__file__).with_name("rayservice_peer.py")
# Ray's own `ray` comes first: the image has another one, which starts workers as forks and a directory of replicas.
_PATH = "/opt/fairlead/bin:/usr/local/bin:/usr/bin:/bin"
_READY = {
    "httpGet": {"path": "/-/healthz", "port": PORT},
    # KubeRay's own numbers for a worker of a RayService.
    "periodSeconds": 5,
    "timeoutSeconds": 2,
    "failureThreshold": 1,
}


def apply(served: product.Product, cluster: dict[str, Any], *, replicas: int, url: str, version: str) -> None:
    """Apply the RayService and its code; `cluster` is a RayCluster's spec."""
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "peer-code"},
        "data": {_CODE.name: _CODE.read_text()},
    }
    service = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME},
        "spec": {"serveConfigV2": _config(replicas=replicas, url=url, version=version), "rayClusterConfig": cluster},
    }
    served.apply(code, service)


def change(served: product.Product, *, replicas: int, url: str, version: str) -> None:
    """Change its application. KubeRay writes into the other fields, so nothing else is applied."""
    spec = {"serveConfigV2": _config(replicas=replicas, url=url, version=version)}
    served.kubectl("patch", f"rayservice/{NAME}", "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def _config(*, replicas: int, url: str, version: str) -> str:
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": f"{_CODE.stem}:build",
        "args": {"url": url, "version": version},
        "deployments": [{"name": "Doubling", "num_replicas": replicas, "ray_actor_options": {"num_cpus": 0.25}}],
    }
    return json.dumps({"applications": [application]})


def cluster_spec(made: dict[str, Any], *, workers: int) -> dict[str, Any]:
    """The spec of a RayCluster of the product, without what only Fairlead's replicas need."""
    spec = copy.deepcopy(made)
    for name in ("authOptions", "enableInTreeAutoscaling", "autoscalerOptions"):
        spec.pop(name, None)
    head, group = spec["headGroupSpec"], spec["workerGroupSpecs"][0]
    group |= {"replicas": workers, "minReplicas": workers, "maxReplicas": workers}
    for each in (head, group):
        each["template"]["metadata"] = {}
        _change_pod(each["template"]["spec"])
    group["template"]["spec"]["containers"][0]["readinessProbe"] = _READY
    return dict(spec)


def _change_pod(pod: dict[str, Any]) -> None:
    (container,) = [each for each in pod["containers"] if each["name"].startswith("ray-")]
    pod["containers"] = [container]
    pod.pop("topologySpreadConstraints", None)
    pod["volumes"].append({"name": "code", "configMap": {"name": "peer-code"}})
    container["volumeMounts"].append({"name": "code", "mountPath": "/peer"})
    container["env"] = [{"name": "PATH", "value": _PATH}, {"name": "PYTHONPATH", "value": "/peer"}]
    container["ports"] = [*container["ports"], {"name": "serve", "containerPort": PORT}]


def status(served: product.Product) -> str:
    """The application's status as KubeRay reports it; empty where there is none yet."""
    found = json.loads(served.kubectl("get", f"rayservice/{NAME}", "--output=json"))
    active = found.get("status", {}).get("activeServiceStatus", {})
    return str(active.get("applicationStatuses", {}).get(APPLICATION, {}).get("status", ""))


def is_served(served: product.Product) -> bool:
    """Whether the RayService's own Service is there, and a worker that it leads to is ready."""
    found = served.node.kubectl(f"--namespace={served.namespace}", "get", f"service/{NAME}-serve-svc")
    return found.returncode == 0 and len(served.ready_pods("ray.io/node-type=worker")) > 0


def explain(served: product.Product) -> str:
    """The object and its pods, for a test that waits in vain."""
    return served.kubectl("get", "rayservice,pods", "--output=wide") + served.kubectl(
        "get", f"rayservice/{NAME}", "--output=jsonpath={.status}"
    )


def address(served: product.Product) -> str:
    """Where clients reach the application: an address and a port."""
    found = served.kubectl("get", f"service/{NAME}-serve-svc", "--output=jsonpath={.spec.clusterIP}")
    return f"{found}:{PORT}"
