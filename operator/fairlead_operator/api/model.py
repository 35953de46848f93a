"""What every type of the API is made from."""

from __future__ import annotations

from collections.abc import Sized
from typing import Final

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


MEMORY: Final = ConfigDict(alias_generator=to_camel, extra="ignore", use_attribute_docstrings=True)
"""The same for a part of a status that the operator works with: a frozen dataclass, which is copied by ``replace``.

It is checked where it is read and where it is recorded, not each time that it is made.
"""


def is_empty(value: Sized) -> bool:
    """For ``exclude_if``: a field that is left out of what is written while it is empty."""
    return not value
