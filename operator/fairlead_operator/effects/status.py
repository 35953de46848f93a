"""The one status write of a pass."""

from __future__ import annotations

from fairlead_operator.clients import kubernetes, paths
from fairlead_operator.state import actions


async def write_status(
    api: kubernetes.KubernetesClient, update: actions.StatusUpdate, *, resource_version: str
) -> kubernetes.Object | None:
    """Merge-patch the status subresource of exactly the version that was read; Conflict where it has changed since.

    Returns the object as it is then, None where nothing had to be written.
    """
    if update.patch is None:
        return None
    body = {"metadata": {"resourceVersion": resource_version}, "status": update.patch}
    return await api.merge_patch(paths.models(update.key.namespace, update.key.name) + "/status", body)
