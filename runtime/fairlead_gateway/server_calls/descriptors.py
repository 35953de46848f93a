"""Describes services and messages to clients, as descriptors made from `services.json`.

The gateway has no protobuf library, so that it writes the few fields of a descriptor by itself.
Source: https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
"""

import functools
import importlib.resources
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairlead_gateway.server_calls import messages

FILE = "services.json"
"""By package: the fields of each message, and the request and response of each method, as a .proto file writes them.

`tests/contract/test_reflected_services.py` writes and checks it.
"""

_TYPES = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
_MESSAGE = 11
_OPTIONAL, _REPEATED = 1, 3
_FIELD = re.compile(
    r"(?P<repeated>repeated )?(?:map<string, (?P<value>\w+)>|(?P<kind>\w+)) (?P<name>\w+) = (?P<number>\d+)"
)
_METHOD = re.compile(
    r"(?P<name>\w+)\((?P<client>stream )?(?P<request>\w+)\) returns \((?P<server>stream )?(?P<response>\w+)\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What clients can ask for: each file's descriptor by its name, and the name of the file of each symbol."""

    files: Mapping[str, bytes]
    symbols: Mapping[str, str]
    services: tuple[str, ...]


@functools.cache
def catalogue() -> Catalogue:
    """The services of the file beside this module."""
    files: dict[str, bytes] = {}
    symbols: dict[str, str] = {}
    services: list[str] = []
    content = json.loads(importlib.resources.files(__package__).joinpath(FILE).read_text("utf-8"))
    for package, described in content.items():
        name = f"{package}.proto"
        files[name] = _file(name, package, described)
        symbols |= dict.fromkeys(_symbols(package, described), name)
        services += (f"{package}.{service}" for service in described["services"])
    return Catalogue(files=files, symbols=symbols, services=tuple(sorted(services)))


def _file(name: str, package: str, described: Mapping[str, Mapping[str, Iterable[str]]]) -> bytes:
    head = messages.text(1, name) + messages.text(2, package)
    types = (messages.nested(4, _message(package, *each)) for each in described["messages"].items())
    services = (messages.nested(6, _service(package, *each)) for each in described["services"].items())
    return head + b"".join(types) + b"".join(services) + messages.text(12, "proto3")


def _message(package: str, name: str, fields: Iterable[str]) -> bytes:
    out = messages.text(1, name)
    entries = b""
    for line in fields:
        found = _read(_FIELD, line)
        own, value = found["name"], found["value"]
        if value:
            # A map is a list of messages that are declared within this one.
            # Source: https://protobuf.dev/programming-guides/proto3/#backwards
            entry = entry_name(own)
            entries += messages.nested(3, _entry(package, entry, value))
            kind = f"{name}.{entry}"
        else:
            kind = found["kind"]
        label = _REPEATED if value or found["repeated"] else _OPTIONAL
        out += messages.nested(2, _field(package, own, int(found["number"]), label, kind))
    return out + entries


def entry_name(field: str) -> str:
    """The name of the message of an entry of a map: `string_param` has `StringParamEntry`."""
    return f"{field.title().replace('_', '')}Entry"


def _entry(package: str, name: str, value: str) -> bytes:
    key = messages.nested(2, _field(package, "key", 1, _OPTIONAL, "string"))
    held = messages.nested(2, _field(package, "value", 2, _OPTIONAL, value))
    is_entry = messages.nested(7, messages.whole(7, 1))
    return messages.text(1, name) + key + held + is_entry


def _field(package: str, name: str, number: int, label: int, kind: str) -> bytes:
    head = messages.text(1, name) + messages.whole(3, number) + messages.whole(4, label)
    if kind in _TYPES:
        return head + messages.whole(5, _TYPES[kind])
    return head + messages.whole(5, _MESSAGE) + messages.text(6, f".{package}.{kind}")


def _service(package: str, name: str, methods: Iterable[str]) -> bytes:
    out = messages.text(1, name)
    for line in methods:
        found = _read(_METHOD, line)
        types = messages.text(2, f".{package}.{found['request']}") + messages.text(3, f".{package}.{found['response']}")
        streams = messages.whole(5, bool(found["client"])) + messages.whole(6, bool(found["server"]))
        out += messages.nested(2, messages.text(1, found["name"]) + types + streams)
    return out


def _symbols(package: str, described: Mapping[str, Mapping[str, Iterable[str]]]) -> Iterator[str]:
    for name, fields in described["messages"].items():
        yield f"{package}.{name}"
        maps = (found for line in fields if (found := _read(_FIELD, line))["value"])
        yield from (f"{package}.{name}.{entry_name(found['name'])}" for found in maps)
    for name, methods in described["services"].items():
        yield f"{package}.{name}"
        yield from (f"{package}.{name}.{_read(_METHOD, line)['name']}" for line in methods)


def _read(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    found = pattern.fullmatch(line)
    if not found:
        raise ValueError(f"{FILE}: {line!r} cannot be read")
    return found
