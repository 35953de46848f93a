"""The writes of a namespace's pass: server-side apply, one JSON patch, deletes by uid."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import ApplyObject, DeleteObject, MakeToken, ObjectKey, SetBounds

TOKEN_BYTES = 32
_GROUP = "/spec/workerGroupSpecs/0"


class ForeignObject(errors.AlreadyExists):
    """An object of somebody else has the name of one of ours."""


async def write(
    api: kubernetes.KubernetesClient,
    namespace: str,
    action: infrastructure.NamespaceWrite,
    *,
    build_secret: Callable[[str, str], Mapping[str, Any]],
) -> kubernetes.Object | None:
    """Carry out one write; the object as it is then, None where it was deleted.

    ``build_secret`` makes the Secret of a namespace and a new token.

    Raises:
        ForeignObject: An object of that name is there and isn't ours.
        errors.FairleadError: The API server did not take it.
    """
    path = paths.of_kind(action.key.kind, namespace, action.key.name)
    match action:
        case ApplyObject(key=key, body=body, is_new=is_new):
            if is_new:
                await _require_free(api, path, key)
            return await api.apply(path, body, field_manager=names.FIELD_MANAGER)
        case MakeToken(key=key):
            await _require_free(api, path, key)
            body = build_secret(namespace, secrets.token_hex(TOKEN_BYTES))
            return await api.apply(path, body, field_manager=names.FIELD_MANAGER)
        case SetBounds(bounds=bounds):
            operations: list[Mapping[str, Any]] = [
                {"op": "test", "path": f"{_GROUP}/groupName", "value": infrastructure.WORKER_GROUP},
                {"op": "replace", "path": f"{_GROUP}/minReplicas", "value": bounds.least},
                {"op": "replace", "path": f"{_GROUP}/maxReplicas", "value": bounds.most},
            ]
            if bounds.idle_s is not None:
                operations.append({"op": "add", "path": f"{_GROUP}/idleTimeoutSeconds", "value": bounds.idle_s})
            return await api.json_patch(path, operations)
        case DeleteObject(uid=uid):
            await api.delete(path, uid=uid)
            return None
    assert_never(action)


async def _require_free(api: kubernetes.KubernetesClient, path: str, key: ObjectKey) -> None:
    """The watches may not show what isn't ours; one of ours, which they don't show yet, is as good as none."""
    try:
        found = await api.get(path)
    except errors.NotFound:
        return
    if not infrastructure.is_ours(found):
        raise ForeignObject(infrastructure.describe_foreign(key))
    if key.kind is infrastructure.SECRET:
        raise errors.Conflict(f"{key} is there already")
