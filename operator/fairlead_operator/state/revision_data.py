"""What a ControllerRevision keeps in ``data``, in both directions.

Source: docs/contracts.md, "Names".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import pydantic

from fairlead_operator.api import names
from fairlead_operator.api.model_source import ModelSource
from fairlead_operator.api.optimization import STAGES_MAX, Optimization
from fairlead_operator.api.spec import Serving
from fairlead_operator.state import json_text
from fairlead_operator.state.observed import RevisionTemplate

IMPORT_PREFIX = "fairlead_runtime."
DEPLOYMENT = "replica"
SERVINGS_MAX = 1024


def deployment_name(stage: int) -> str:
    """The deployment of a stage of the model, from 1; the first one, mostly the only one, answers requests."""
    return DEPLOYMENT if stage == 1 else f"stage-{stage}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionData:
    """``application`` is the Serve application without the number of replicas, ``user_config`` and attempt."""

    template: RevisionTemplate
    cluster: str
    application: Mapping[str, object]


def to_json(data: RevisionData) -> dict[str, object]:
    return {
        "template": template_to_json(data.template),
        "cluster": data.cluster,
        "application": data.application,
    }


def from_json(body: Mapping[str, Any], *, application: str) -> RevisionData:
    """Reads what ``to_json`` wrote; ``application`` is the name that the revision's Serve application has.

    Raises:
        ValueError: It is not what this or a later version writes for that application.
    """
    wire = _Wire.model_validate(body)
    if wire.application.name != application:
        raise ValueError(f"application.name is {wire.application.name}, not {application}")
    return RevisionData(
        template=template_from_json(wire.template),
        cluster=wire.cluster,
        application=body["application"],
    )


def template_to_json(template: RevisionTemplate) -> dict[str, object]:
    """Every value is written out, so that it means the same to a later version."""
    return {
        "model": template.model.model_dump(mode="json", by_alias=True, exclude_none=True),
        "serving": template.serving.model_dump(mode="json", by_alias=True, exclude_none=True),
        **({"autoscaled": True} if template.is_autoscaled else {}),
        **({} if template.optimization is None else {"optimization": _written(template.optimization)}),
    }


def _written(optimization: Optimization) -> dict[str, object]:
    return optimization.model_dump(mode="json", by_alias=True, exclude_none=True)


def template_from_json(body: Mapping[str, object]) -> RevisionTemplate:
    """Reads what ``template_to_json`` wrote.

    Raises:
        ValueError: The kept template is not one of ours.
    """
    return RevisionTemplate(
        model=ModelSource.model_validate(body.get("model")),
        serving=_serving(json_text.canonical_json(body.get("serving"))),
        is_autoscaled=body.get("autoscaled") is True,
        optimization=None if body.get("optimization") is None else Optimization.model_validate(body["optimization"]),
    )


@functools.lru_cache(maxsize=SERVINGS_MAX)
def _serving(text: bytes) -> Serving:
    """Thousands of revisions have the same settings: they share one object."""
    return Serving.model_validate_json(text)


class _Part(pydantic.BaseModel):
    """What this version relies on; whatever a later version adds is kept as it is."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)


class _Arguments(_Part):
    config: dict[str, Any]


class _Deployment(_Part):
    name: str


class _Application(_Part):
    name: Annotated[str, pydantic.Field(max_length=names.SERVE_APPLICATION_MAX)]
    import_path: Annotated[str, pydantic.Field(pattern=f"^{IMPORT_PREFIX.replace('.', '[.]')}")]
    route_prefix: None = None
    args: _Arguments
    deployments: Annotated[tuple[_Deployment, ...], pydantic.Field(min_length=1, max_length=STAGES_MAX)]

    @pydantic.model_validator(mode="after")
    def _has_one_of_each_stage(self) -> Self:
        names = [each.name for each in self.deployments]
        expected = [deployment_name(number) for number in range(1, len(names) + 1)]
        if names != expected:
            raise ValueError(f"application.deployments are {names}, not {expected}")
        return self


class _Wire(_Part):
    template: dict[str, Any]
    cluster: Annotated[str, pydantic.Field(pattern=names.CLUSTER_PATTERN, max_length=names.CLUSTER_MAX)]
    application: _Application
