"""What a local cluster is given before anything else: namespaces, the CRD, service accounts and their rules."""

from __future__ import annotations

import pathlib
from typing import Protocol

SYSTEM_NAMESPACE = "fairlead-system"
NAMESPACE_MARK = "${NAMESPACE}"  # see charts/fairlead/files/rbac/README.md
_REPOSITORY = pathlib.Path(__file__).parents[3]


class Kubectl(Protocol):
    """Runs kubectl and gives its output; raises when it fails."""

    def __call__(self, *arguments: str, manifest: str | None = None) -> str: ...


def crd_files() -> tuple[pathlib.Path, ...]:
    """The CRDs' manifests."""
    return tuple(sorted((_REPOSITORY / "crds").glob("*.yaml")))


def rbac_files() -> tuple[pathlib.Path, ...]:
    """The rules that the chart ships, and the local cluster runs under."""
    return tuple(sorted((_REPOSITORY / "charts/fairlead/files/rbac").glob("*.yaml")))


def apply(kubectl: Kubectl, *, namespace: str) -> None:
    """Create the namespaces and apply CRDs and rules; done again it changes nothing."""
    for each in {SYSTEM_NAMESPACE, namespace} - {"default"}:
        manifest = f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{each}"}}}}'
        kubectl("apply", "--filename=-", manifest=manifest)
    for path in (*crd_files(), *rbac_files()):
        kubectl("apply", "--filename=-", manifest=path.read_text().replace(NAMESPACE_MARK, namespace))
