"""The route table, one key a model: writing it moves traffic; that it moved is read, never assumed."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.state import actions, keys, route


async def write_route(api: kubernetes.KubernetesClient, key: keys.ModelKey, entry: route.RouteEntry) -> actions.Outcome:
    """Patch the model's key alone, so that models never overwrite each other (docs/decisions/0003)."""
    patch = {"data": {key.name: entry.to_json()}}
    try:
        await api.merge_patch(paths.routes(key.namespace), patch)
    except errors.NotFound:
        await _create_table(api, key.namespace)
        await api.merge_patch(paths.routes(key.namespace), patch)
    return actions.Done()


async def _create_table(api: kubernetes.KubernetesClient, namespace: str) -> None:
    """An apply without data: two models that both find no table can't undo each other's keys."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.ROUTE_CONFIG_MAP, "namespace": namespace},
    }
    await api.apply(paths.routes(namespace), body, field_manager=names.FIELD_MANAGER)


async def delete_route(api: kubernetes.KubernetesClient, key: keys.ModelKey) -> actions.Outcome:
    """Take the key out whoever else claims it; applying nothing would leave a key that a second field manager owns."""
    try:
        await api.merge_patch(paths.routes(key.namespace), {"data": {key.name: None}})
    except errors.NotFound:
        return actions.Done()
    return actions.Done()
