"""Writes to the ModelDeployment's metadata and to its ControllerRevisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.state import actions, keys, reasons, revision_data


class Namespace(Protocol):
    """Where the answers to our writes are kept, so that the next pass sees them."""

    def wrote_revision(self, body: Mapping[str, Any]) -> None: ...

    def removed_revision(self, name: str, uid: str) -> None: ...


async def write_finalizers(
    api: kubernetes.KubernetesClient, key: keys.ModelKey, action: actions.AddFinalizer | actions.RemoveFinalizer
) -> actions.Outcome:
    """Replace the list of finalizers of exactly the version that was read (409 otherwise)."""
    metadata = {"resourceVersion": action.resource_version, "finalizers": list(action.finalizers)}
    try:
        stored = await api.merge_patch(paths.models(key.namespace, key.name), {"metadata": metadata})
    except errors.NotFound:
        return actions.Done()
    return actions.Done(stored=stored)


async def create_revision(
    api: kubernetes.KubernetesClient, key: keys.ModelKey, action: actions.CreateRevision, namespace: Namespace
) -> actions.Outcome:
    """Create the ControllerRevision; that it is there already, as an earlier answer was lost, is fine."""
    try:
        namespace.wrote_revision(await api.create(paths.revisions(key.namespace), _revision_body(key, action)))
    except errors.AlreadyExists:
        return await _check_existing(api, key, action, namespace)
    return actions.Done()


async def _check_existing(
    api: kubernetes.KubernetesClient, key: keys.ModelKey, action: actions.CreateRevision, namespace: Namespace
) -> actions.Outcome:
    body = await api.get(paths.revisions(key.namespace, action.name))
    namespace.wrote_revision(body)
    owners = body["metadata"].get("ownerReferences") or []
    if any(owner.get("uid") == action.owner_uid for owner in owners):
        return actions.Done()
    message = f"ControllerRevision {action.name} exists and belongs to another object"
    return actions.Refused(reason=reasons.Reason.CONFLICT, message=message)


async def pin_digest(
    api: kubernetes.KubernetesClient, key: keys.ModelKey, action: actions.PinDigest, namespace: Namespace
) -> actions.Outcome:
    body = {"metadata": {"annotations": {names.ANNOTATION_DIGEST: action.digest}}}
    namespace.wrote_revision(await api.merge_patch(paths.revisions(key.namespace, action.name), body))
    return actions.Done()


async def delete_revision(
    api: kubernetes.KubernetesClient, key: keys.ModelKey, action: actions.DeleteRevision, namespace: Namespace
) -> actions.Outcome:
    """Delete by the uid just read: never another object of the same name."""
    try:
        body = await api.get(paths.revisions(key.namespace, action.name))
    except errors.NotFound:
        return actions.Done()
    uid = body["metadata"]["uid"]
    await api.delete(paths.revisions(key.namespace, action.name), uid=uid)
    namespace.removed_revision(action.name, uid)
    return actions.Done()


def owner_of(key: keys.ModelKey, uid: str) -> dict[str, Any]:
    """The owner reference of what belongs to a ModelDeployment and goes with it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": key.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _revision_body(key: keys.ModelKey, action: actions.CreateRevision) -> dict[str, Any]:
    data = revision_data.RevisionData(template=action.template, cluster=action.cluster, application=action.application)
    return {
        "apiVersion": paths.REVISION_API,
        "kind": "ControllerRevision",
        "metadata": {
            "name": action.name,
            "namespace": key.namespace,
            "labels": {names.LABEL_MODEL: key.name, names.LABEL_REVISION: action.revision},
            "ownerReferences": [owner_of(key, action.owner_uid)],
        },
        "data": revision_data.to_json(data),
        "revision": action.number,
    }
