"""Protobuf messages from a table of their fields, in a pool of their own: TensorFlow has some of the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}

Message = Any
"""A protobuf message; its class is made at run time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a message. `kind` is a scalar type or the name of a message of the same table."""

    name: str
    number: int
    kind: str
    is_repeated: bool = False
    is_map: bool = False
    """A map from strings to `kind`."""


def one(number: int, kind: str, name: str) -> Field:
    """A field with one value."""
    return Field(name=name, number=number, kind=kind)


def many(number: int, kind: str, name: str) -> Field:
    """A field with any number of values."""
    return Field(name=name, number=number, kind=kind, is_repeated=True)


def by_name(number: int, kind: str, name: str) -> Field:
    """A field that maps strings to values."""
    return Field(name=name, number=number, kind=kind, is_map=True)


def build(package: str, table: Mapping[str, Sequence[Field]]) -> dict[str, type[Message]]:
    """The class of each message in the table, whose names are relative to the package."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in table.items():
        described = file.message_type.add(name=name)
        for each in fields:
            _add(described, each, f".{package}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{package}.{name}")) for name in table}


def _add(described: descriptor_pb2.DescriptorProto, field: Field, scope: str) -> None:
    if field.is_map:
        # Source: https://protobuf.dev/programming-guides/proto3/#backwards
        entry = f"{field.name.title().replace('_', '')}Entry"
        nested = described.nested_type.add(name=entry)
        nested.options.map_entry = True
        _add(nested, one(1, "string", "key"), scope)
        _add(nested, one(2, field.kind, "value"), scope)
        kind, type_name = _FIELD.TYPE_MESSAGE, f"{scope}.{described.name}.{entry}"
    elif field.kind in _SCALARS:
        kind, type_name = _SCALARS[field.kind], None
    else:
        kind, type_name = _FIELD.TYPE_MESSAGE, f"{scope}.{field.kind}"
    is_repeated = field.is_repeated or field.is_map
    described.field.add(
        name=field.name,
        number=field.number,
        type=kind,
        type_name=type_name,
        label=_FIELD.LABEL_REPEATED if is_repeated else _FIELD.LABEL_OPTIONAL,
    )
