"""What makes a revision, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fairlead_operator.api.spec import ModelDeploymentSpec, ModelSource, Serving
from fairlead_operator.state.observed import RevisionTemplate
from fairlead_operator.state.serve import canonical_json

REVISION_LENGTH = 10


def template_of(spec: ModelDeploymentSpec) -> RevisionTemplate:
    """The part of the spec that makes a revision; ``model.version`` is in it, as the replicas answer to that name."""
    return RevisionTemplate(model=spec.model, serving=spec.serving)


def revision_of(uid: str, template: RevisionTemplate) -> str:
    """Names a template of one object.

    Fields at their defaults are left out: a field that a later version adds changes no hash, and a default written out
    is the same as one left out.
    """
    body = {
        "model": template.model.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "serving": template.serving.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    return hashlib.sha256(uid.encode() + b"\n" + canonical_json(body)).hexdigest()[:REVISION_LENGTH]


def template_to_json(template: RevisionTemplate) -> dict[str, object]:
    """What a ControllerRevision keeps: every value written out, so that it means the same to a later version."""
    return {
        "model": template.model.model_dump(mode="json", by_alias=True, exclude_none=True),
        "serving": template.serving.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def template_from_json(body: Mapping[str, object]) -> RevisionTemplate:
    """Reads what ``template_to_json`` wrote.

    Raises:
        pydantic.ValidationError: the kept template is not one of ours.
    """
    return RevisionTemplate(
        model=ModelSource.model_validate(body.get("model")), serving=Serving.model_validate(body.get("serving"))
    )
