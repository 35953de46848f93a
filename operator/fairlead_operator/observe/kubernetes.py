"""Kubernetes objects as they are stored, made into our own views: strict where we wrote, else tolerant."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from fairlead_operator.api import names, spec, status
from fairlead_operator.clients import errors
from fairlead_operator.state import json_text, observed, revision_data

UNKNOWN_TIME = "1970-01-01T00:00:00Z"

log = logging.getLogger(__name__)


def view_model(
    body: Mapping[str, Any], *, known: tuple[observed.ModelDeploymentView, Mapping[str, object]] | None = None
) -> observed.ModelDeploymentView:
    """A ModelDeployment. What can't be read of its spec or its status is said in the view: a deletion needs neither.

    ``known`` is an earlier view of the object and its status as JSON: what is the same is not read again.
    """
    metadata = body["metadata"]
    deleted_at = metadata.get("deletionTimestamp")
    before, wire = known if known is not None else (None, None)
    is_known = before is not None and (before.uid, before.generation) == (metadata["uid"], metadata.get("generation"))
    if before is not None and is_known and wire == body.get("status"):
        read, problem = before.status, before.status_problem
    else:
        read, problem = _status(body)
    return observed.ModelDeploymentView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        deletion_timestamp=datetime.datetime.fromisoformat(deleted_at) if deleted_at else None,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=before.spec if before is not None and is_known else _spec(body.get("spec") or {}),
        status=read,
        status_problem=problem,
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
            application=json_text.KeptJson(data.application),
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


def _status(body: Mapping[str, Any]) -> tuple[status.ModelDeploymentStatus, str | None]:
    """The status without what can't be read, and a sentence where that is something the operator has to remember.

    What is only shown is written anew by the next pass; a request that can't be read asks for nothing.
    """
    raw = dict(body.get("status") or {})
    problem: str | None = None
    for _ in range(len(raw) + 2):  # each time at least one part of it goes, or is replaced
        try:
            return status.ModelDeploymentStatus.model_validate(raw), problem
        except pydantic.ValidationError as error:
            for found in error.errors():
                problem = _without(raw, found["loc"], found["msg"]) or problem
    return status.ModelDeploymentStatus(), problem or "status: it can't be read"


def _without(raw: dict[str, Any], where: tuple[int | str, ...], words: str) -> str | None:
    """Takes out of a status what can't be read; a sentence where it had to be remembered."""
    name = str(where[0]) if where else ""
    if where == ("request", "time") and isinstance(raw.get("request"), Mapping):
        raw["request"] = {**raw["request"], "time": UNKNOWN_TIME}
        return None
    if raw.pop(name, None) is None or name in observed.SHOWN_FIELDS or name == "request":
        return None
    return f"status.{'.'.join(map(str, where))}: {words}"
