"""A model's route, an object of its own: writing it moves traffic; that it moved is read, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.effects import kubernetes as objects
from fairlead_operator.state import actions, keys, merge_patch, observed, reasons, route


class Namespace(Protocol):
    """Where the answers to our writes are kept, so that the next pass sees them."""

    def wrote_route(self, body: Mapping[str, Any]) -> None: ...

    def removed_route(self, name: str, uid: str) -> None: ...

    def note_route_writes(self, writes: observed.RouteWrites) -> None: ...


async def write_route(
    api: kubernetes.KubernetesClient,
    key: keys.ModelKey,
    action: actions.WriteRoute | actions.RetireRoute,
    namespace: Namespace,
) -> actions.Outcome:
    """Apply the model's ModelRoute; afterwards it holds the entry and nothing else."""
    spec = action.entry.to_spec() if isinstance(action, actions.WriteRoute) else route.RetiredRoute().to_spec()
    path = paths.model_routes(key.namespace, key.name)
    stored = await api.apply(path, _body(key, spec, action.owner_uid), field_manager=names.FIELD_MANAGER)
    foreign = merge_patch.between(stored.get("spec") or {}, spec)
    if foreign is not None:
        # Apply leaves what somebody else added. Gateways would refuse it, as the version doesn't name it.
        stored = await api.merge_patch(path, {"spec": foreign})
    namespace.wrote_route(stored)
    return actions.Done()


async def retire_route(
    api: kubernetes.KubernetesClient,
    key: keys.ModelKey,
    action: actions.RetireRoute | actions.DeleteRoute,
    namespace: Namespace,
) -> actions.Outcome:
    """Write the route as retired, or delete it. That it is forbidden is noted: a deletion waits for it in time only."""
    try:
        if isinstance(action, actions.DeleteRoute):
            return await delete_route(api, key, namespace)
        return await write_route(api, key, action, namespace)
    except errors.NamespaceEnding:
        namespace.note_route_writes(observed.RouteWrites.ENDING)
    except errors.Forbidden:
        namespace.note_route_writes(observed.RouteWrites.FORBIDDEN)
    return actions.Done()


async def delete_route(api: kubernetes.KubernetesClient, key: keys.ModelKey, namespace: Namespace) -> actions.Outcome:
    """Delete exactly the object that was just read, and only a retired one: gateways keep an unmarked one's route."""
    path = paths.model_routes(key.namespace, key.name)
    try:
        found = await api.get(path)
    except errors.NotFound:
        return actions.Done()
    if (found.get("spec") or {}).get("retired") is not True:
        message = "the route is no longer marked as retired"
        return actions.Refused(reason=reasons.Reason.CONFLICT, message=message)
    metadata = found["metadata"]
    await api.delete(path, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
    return actions.Done()


def _body(key: keys.ModelKey, spec: dict[str, object], owner_uid: str | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": key.name,
        "namespace": key.namespace,
        "labels": {names.LABEL_MODEL: key.name},
    }
    if owner_uid is not None:
        metadata["ownerReferences"] = [objects.owner_of(key, owner_uid)]
    return {"apiVersion": names.API_VERSION, "kind": names.ROUTE_KIND, "metadata": metadata, "spec": spec}
