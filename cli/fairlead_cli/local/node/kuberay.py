"""KubeRay's operator on the node: its own CRDs and rules, from the module that it is built from."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fairlead_cli.local import build, errors, locks, paths, progress, versions

NAMESPACE = "kuberay-system"
_NAME = "kuberay-operator"
_MODULE = "github.com/ray-project/kuberay/ray-operator"
# Below the module's folder.
_FILES = ("config/crd/bases", "config/rbac/role.yaml", "config/rbac/leader_election_role.yaml")
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def obtain_manifests(cache: pathlib.Path, reporter: progress.Reporter) -> pathlib.Path:
    """The folder with the files that the module ships, as `_FILES` names them; kept in the cache.

    Raises:
        LocalClusterError: Go can't get the module.
    """
    kept = cache / "bin" / f"{versions.KUBERAY}-{paths.system()}-{paths.architecture()}" / "manifests"
    if not kept.exists():
        with locks.hold(cache / "kuberay.lock", what="another command gets KubeRay's CRDs", reporter=reporter):
            if not kept.exists():
                _copy(_module_folder(), kept)
    return kept


def _module_folder() -> pathlib.Path:
    argv = [str(build.find_go(os.environ)), "mod", "download", "-json", f"{_MODULE}@{versions.KUBERAY}"]
    environment = {"GOTOOLCHAIN": "local", **os.environ, "GOWORK": "off"}
    folder = build.module_dir(_NAME)
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise errors.LocalClusterError(f"go mod download of {_MODULE} failed: {done.stdout}{done.stderr}")
    return pathlib.Path(json.loads(done.stdout)["Dir"])


def _copy(module: pathlib.Path, kept: pathlib.Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".manifests-") as temporary:
        for name in _FILES:
            source, target = module / name, pathlib.Path(temporary, "manifests", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, target)
        pathlib.Path(temporary, "manifests").rename(kept)


def definitions(manifests: pathlib.Path) -> pathlib.Path:
    """The folder of KubeRay's CRDs. They are so large that parsing them here would take a minute."""
    return manifests / _FILES[0]


def objects(manifests: pathlib.Path, *, image: str) -> list[Mapping[str, Any]]:
    """The operator and what it may do, as its own manifests have it."""
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": NAMESPACE}
    role = yaml.safe_load((manifests / _FILES[1]).read_text())
    election = yaml.safe_load((manifests / _FILES[2]).read_text())
    election["metadata"]["namespace"] = NAMESPACE
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _NAME, "namespace": NAMESPACE}},
        role,
        election,
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role["metadata"]["name"]},
            "subjects": [account],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": _NAME, "namespace": NAMESPACE},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": election["metadata"]["name"]},
            "subjects": [account],
        },
        _deployment(image),
    ]


def _deployment(image: str) -> Mapping[str, Any]:
    labels = {"app": _NAME}
    container = {
        "name": _NAME,
        "image": image,
        "args": [
            "--enable-leader-election=true",
            f"--leader-election-namespace={NAMESPACE}",
            "--log-stdout-encoder=json",
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/metrics", "port": "http"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/metrics", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": _SECURITY,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": _NAME, "containers": [container], "terminationGracePeriodSeconds": 10},
            },
        },
    }


def as_list(items: Sequence[Mapping[str, Any]]) -> str:
    """What `kubectl apply --filename=-` reads."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
