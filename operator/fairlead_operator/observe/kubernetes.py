"""Kubernetes objects as they are stored, made into our own views: strict where we wrote, else tolerant."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from fairlead_operator.api import names, spec, status
from fairlead_operator.clients import errors
from fairlead_operator.state import observed, revision_data

log = logging.getLogger(__name__)


def view_model(body: Mapping[str, Any]) -> observed.ModelDeploymentView:
    """A ModelDeployment. An unreadable spec is a finding; an unreadable status an error, as it holds our state."""
    metadata = body["metadata"]
    deleted_at = metadata.get("deletionTimestamp")
    return observed.ModelDeploymentView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        deletion_timestamp=datetime.datetime.fromisoformat(deleted_at) if deleted_at else None,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=_spec(body.get("spec") or {}),
        status=_status(body),
    )


def view_revision(body: Mapping[str, Any]) -> observed.RevisionView:
    """A ControllerRevision of ours; Refused where its data isn't what we write."""
    metadata = body["metadata"]
    try:
        revision, model = metadata["labels"][names.LABEL_REVISION], metadata["labels"][names.LABEL_MODEL]
        application = names.serve_application(metadata["namespace"], model, revision)
        data = revision_data.from_json(body["data"], application=application)
        return observed.RevisionView(
            name=metadata["name"],
            revision=revision,
            number=int(body["revision"]),
            template=data.template,
            cluster=data.cluster,
            application=data.application,
            ports=data.ports,
            digest=(metadata.get("annotations") or {}).get(names.ANNOTATION_DIGEST),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.Refused(f"ControllerRevision {metadata.get('name')} can't be read: {error!r}") from error


def view_revisions(bodies: Iterable[Mapping[str, Any]]) -> list[observed.RevisionView]:
    """Those that can be read: one forged or future object must not hold up a whole namespace."""
    views = []
    for body in bodies:
        try:
            views.append(view_revision(body))
        except errors.Refused as error:
            log.warning("a revision is left out", extra={"error": str(error)})
    return views


def owner_uid(body: Mapping[str, Any]) -> str | None:
    """The uid of the ModelDeployment that owns an object."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("kind") == names.KIND and owner.get("controller")), None)


def _spec(body: Mapping[str, Any]) -> spec.ModelDeploymentSpec | observed.InvalidSpec:
    try:
        return spec.ModelDeploymentSpec.model_validate(body)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["spec", *(str(part) for part in first["loc"])])
        return observed.InvalidSpec(message=f"{field}: {first['msg']}")


def _status(body: Mapping[str, Any]) -> status.ModelDeploymentStatus:
    try:
        return status.ModelDeploymentStatus.model_validate(body.get("status") or {})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise errors.Refused(f"status.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
