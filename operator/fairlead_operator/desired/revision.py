"""What makes a revision, and its hash."""

from __future__ import annotations

import hashlib

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.state.json_text import canonical_json
from fairlead_operator.state.observed import RevisionTemplate

REVISION_LENGTH = 10


def template_of(spec: ModelDeploymentSpec) -> RevisionTemplate:
    """The part of the spec that makes a revision; ``model.version`` is in it, as the replicas answer to that name."""
    return RevisionTemplate(
        model=spec.model,
        serving=spec.serving,
        is_autoscaled=spec.scaling.is_automatic,
        optimization=spec.optimization,
    )


def revision_of(uid: str, template: RevisionTemplate, cluster: str = names.DEFAULT_CLUSTER) -> str:
    """Names a template of one object on one Ray cluster, so that a move to another cluster is a rollout.

    Fields at their defaults are left out: a field that a later version adds changes no hash, and a default written out
    is the same as one left out.
    """
    body: dict[str, object] = {
        "model": template.model.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "serving": template.serving.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }
    if template.is_autoscaled:
        body["autoscaled"] = True
    if template.optimization is not None:
        body["optimization"] = template.optimization.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if cluster != names.DEFAULT_CLUSTER:
        body["cluster"] = cluster
    return hashlib.sha256(uid.encode() + b"\n" + canonical_json(body)).hexdigest()[:REVISION_LENGTH]
