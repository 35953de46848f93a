"""What every type of the API is made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Wire names are camelCase; a field unknown to this version is ignored on read (a write of one is refused).

    A field's docstring is its description in the CRD, which ``kubectl explain`` prints.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )
