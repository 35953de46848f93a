"""Helm as a person calls it, in the namespace that the chart is installed in."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.node import pods

from fairlead_cli.local.node import cluster, release

CHART = release.CHART
SYSTEM = release.NAMESPACE
RELEASE = release.NAME
CRDS = ("modeldeployments.fairlead.dev", "modelroutes.fairlead.dev", "servingclasses.fairlead.dev")


def run(node: cluster.NodeCluster, *arguments: str) -> str:
    """Helm's output; fails with its error output."""
    done = attempt(node, *arguments)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def attempt(node: cluster.NodeCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(node.helm_path), f"--kubeconfig={node.kubeconfig}", f"--namespace={SYSTEM}", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)


def make_namespace(node: cluster.NodeCluster) -> None:
    """The chart's namespace, at the Pod Security level `restricted`."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    system = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": level}}
    pods.run(node, "apply", "--server-side", "--filename=-", text=json.dumps(system))


def values_file(node: cluster.NodeCluster, values: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """The values, with the operator's image by its digest."""
    image = release.image_value(node.ensure_image("operator"))
    operator = {"image": image, **values.get("operator", {})}
    path = folder / "values.json"
    path.write_text(json.dumps({**values, "operator": operator}))
    return path


def install(node: cluster.NodeCluster, values: Mapping[str, Any], *, folder: pathlib.Path) -> None:
    """Install the release and wait for its pods."""
    make_namespace(node)
    given = values_file(node, values, folder)
    run(node, "install", RELEASE, str(CHART), f"--values={given}", "--wait", "--timeout=5m")


def uninstall(node: cluster.NodeCluster) -> None:
    """Uninstall it; the CRDs, which it keeps, go as well."""
    run(node, "uninstall", RELEASE, "--wait")
    pods.run(node, "delete", "crd", *CRDS, "--timeout=60s")
