"""The files in `manifests/`: how they are applied, and how long the Deployments in them are waited for."""

from __future__ import annotations

import pathlib

from fairlead_cli.local import manifests

_FOLDER = pathlib.Path(__file__).parent / "manifests"
_AVAILABLE_WITHIN_S = 240


def apply(kubectl: manifests.Kubectl, file_name: str, **values: str) -> None:
    """Apply one of the files, with each `${NAME}` in it replaced by its value; done again it changes nothing."""
    manifest = (_FOLDER / file_name).read_text()
    for name, value in values.items():
        manifest = manifest.replace(f"${{{name}}}", value)
    kubectl("apply", "--server-side", "--field-manager=fairlead-local", "--filename=-", manifest=manifest)


def await_deployment(kubectl: manifests.Kubectl, name: str, *, namespace: str) -> None:
    """Wait until all pods of a Deployment are available."""
    where = (f"--namespace={namespace}", f"--timeout={_AVAILABLE_WITHIN_S}s")
    kubectl("rollout", "status", f"deployment/{name}", *where)
