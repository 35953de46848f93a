"""The route table, one key a model: writing it moves traffic; that it moved is read, never assumed."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.state import actions, keys, route


async def write_route(api: kubernetes.KubernetesClient, key: keys.ModelKey, entry: route.RouteEntry) -> actions.Outcome:
    """Server-side apply with the model's own field manager, so that models never overwrite each other."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.ROUTE_CONFIG_MAP, "namespace": key.namespace},
        "data": {key.name: entry.to_json()},
    }
    await api.apply(paths.routes(key.namespace), body, field_manager=names.route_field_manager(key.name))
    return actions.Done()


async def delete_route(api: kubernetes.KubernetesClient, key: keys.ModelKey) -> actions.Outcome:
    """Take the key out whoever else claims it; applying nothing would leave a key that a second field manager owns."""
    try:
        await api.merge_patch(paths.routes(key.namespace), {"data": {key.name: None}})
    except errors.NotFound:
        return actions.Done()
    return actions.Done()
