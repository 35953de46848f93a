"""Fairlead itself on a node: KubeRay, the images of this clone, and the chart with a small ServingClass."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

from fairlead_cli.local import errors
from fairlead_cli.local.node import cluster

NAMESPACE = "fairlead-system"
NAME = "fairlead"
CHART = pathlib.Path(__file__).parents[4] / "charts" / "fairlead"


def install(node: cluster.NodeCluster, *, workers: int) -> None:
    """Install KubeRay's operator and the chart, or bring what is there to this clone's state.

    Raises:
        LocalClusterError: a part of it failed; with the end of its output.
    """
    node.install_kuberay()
    given = json.dumps(values(node, workers=workers))
    how = ("--install", "--create-namespace", "--values=-", "--wait", "--timeout=5m")
    argv = [str(node.helm_path), f"--kubeconfig={node.kubeconfig}", f"--namespace={NAMESPACE}"]
    done = subprocess.run(
        [*argv, "upgrade", NAME, str(CHART), *how], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise errors.LocalClusterError(f"helm upgrade failed:\n{done.stdout}{done.stderr[-2000:]}")


def values(node: cluster.NodeCluster, *, workers: int = 1) -> dict[str, Any]:
    """The chart's values: images by digest, and requests so small that all pods share a machine of two processors.

    Two gateways and `workers` Ray workers of one logical processor each.
    """
    small = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    return {
        "operator": {"image": image_value(node.ensure_image("operator")), "resources": small},
        "servingClass": {
            "image": image_value(node.ensure_image("ray-node")),
            # Ray gives its head 30 s to start, so it gets more of a busy machine than the workers that wait for it.
            "head": {"cpu": "500m", "memory": "2Gi"},
            "worker": {"cpu": "300m", "memory": "3Gi"},
            "workers": {"min": workers, "max": workers},
            # Models may be read from Services: the node has no way to anywhere else.
            "sources": {"allowedNetworks": [node.addresses.services]},
            "gateway": {
                "image": image_value(node.ensure_image("gateway")),
                "resources": {"cpu": "50m", "memory": "256Mi"},
            },
        },
    }


def image_value(reference: str) -> dict[str, str]:
    """An image by its digest, as the chart's values have one."""
    repository, digest = reference.split("@")
    return {"repository": repository, "digest": digest}
