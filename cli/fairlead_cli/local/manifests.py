"""What a local cluster is given before anything else: namespaces, the CRD, service accounts and their rules."""

from __future__ import annotations

import json
import pathlib
from typing import Protocol

SYSTEM_NAMESPACE = "fairlead-system"
# In a wheel the manifests lie beside this module (see pyproject.toml), in a clone they are where they are edited.
_PACKAGED = pathlib.Path(__file__).parent / "packaged"
_REPOSITORY = pathlib.Path(__file__).parents[3]
_BOUND_EVERYWHERE = "operator-cluster.yaml"  # in place of the binding in one namespace, which is what is used here


class Kubectl(Protocol):
    """Runs kubectl and gives its output; raises when it fails."""

    def __call__(self, *arguments: str, manifest: str | None = None) -> str: ...


def crd_files() -> tuple[pathlib.Path, ...]:
    """The CRDs' manifests."""
    return _yaml_files("crds")


def rbac_files() -> tuple[pathlib.Path, ...]:
    """The rules that the chart ships; the operator is bound in the models' namespace only."""
    return tuple(path for path in _yaml_files("charts/fairlead/files/rbac") if path.name != _BOUND_EVERYWHERE)


def _yaml_files(folder: str) -> tuple[pathlib.Path, ...]:
    root = _PACKAGED if _PACKAGED.exists() else _REPOSITORY
    return tuple(sorted((root / folder).glob("*.yaml")))


def render(namespace: str) -> str:
    """All of it as one stream of documents."""
    namespaces = [
        json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in sorted({SYSTEM_NAMESPACE, namespace} - {"default"})
    ]
    files = [path.read_text() for path in (*crd_files(), *rbac_files())]
    return "\n---\n".join([*namespaces, *files]).replace("${NAMESPACE}", namespace)


def apply(kubectl: Kubectl, *, namespace: str) -> None:
    """Make it so, and wait until the CRDs can be used; done again it changes nothing."""
    kubectl("apply", "--server-side", "--field-manager=fairlead-local", "--filename=-", manifest=render(namespace))
    if files := crd_files():
        named = (f"--filename={path}" for path in files)
        kubectl("wait", "--for=condition=Established", "--timeout=30s", *named)
