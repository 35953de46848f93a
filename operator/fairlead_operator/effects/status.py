"""The one status write of a pass."""

from __future__ import annotations

from fairlead_operator.clients import kubernetes, paths
from fairlead_operator.state import actions


async def write_status(
    api: kubernetes.KubernetesClient, update: actions.StatusUpdate, *, resource_version: str
) -> None:
    """Merge-patch the status subresource of exactly the version that was read; Conflict where it has changed since."""
    if update.patch is None:
        return
    body = {"metadata": {"resourceVersion": resource_version}, "status": update.patch}
    await api.merge_patch(paths.models(update.key.namespace, update.key.name) + "/status", body)
