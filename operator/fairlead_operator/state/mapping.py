"""Between what a pass works with and what the status keeps: a field of the same name on both sides maps by itself."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from fairlead_operator.api.model import ApiModel

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

M = TypeVar("M", bound=ApiModel)
D = TypeVar("D", bound="DataclassInstance")


@functools.cache
def _names(kind: type[DataclassInstance], renamed: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Each field's name in the dataclass and in the API's model."""
    other = dict(renamed)
    return tuple((field.name, other.get(field.name, field.name)) for field in dataclasses.fields(kind))


def from_api(kind: type[D], model: ApiModel, /, *, renamed: tuple[tuple[str, str], ...] = (), **special: Any) -> D:
    """The dataclass with the model's fields; ``special`` are those that have another form there."""
    pairs = _names(kind, renamed)
    return kind(**{name: getattr(model, wire) for name, wire in pairs if name not in special}, **special)


def to_api(
    kind: type[M], value: DataclassInstance, /, *, renamed: tuple[tuple[str, str], ...] = (), **special: Any
) -> M:
    """The API's model with the dataclass's fields; ``special`` are the model's fields that have another form here."""
    pairs = _names(type(value), renamed)
    return kind(**{wire: getattr(value, name) for name, wire in pairs if wire not in special}, **special)
