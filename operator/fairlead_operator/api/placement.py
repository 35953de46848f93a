"""Where a model runs: all that its owner may choose of the infrastructure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead_operator.api import names
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import text

ClassName = Annotated[
    str,
    text(
        "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "must be the name of a ServingClass, as printed by kubectl get servingclasses",
        max_length=names.CLASS_NAME_MAX,
    ),
]


class ClusterChoice(ApiModel):
    """The Ray cluster of a model."""

    class_name: Annotated[ClassName | None, Field(alias="class")] = None
    """The name of the ServingClass that defines the Ray cluster. After a change, a rollout moves the model to the other
    Ray cluster. If unset, the default ServingClass is used. If the operator runs with --ray, it is the name of a Ray
    cluster given there; if unset, the first one.
    """
