"""One replica as the node's directory lists it: its file's name and content, and its part of the answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import orjson
from typing_extensions import override

FILE_BYTES_MAX = 1024
REPLICAS_MAX = 4096
"""More are never answered: with the longest names an answer of so many stays below 1 MiB."""

_NAME = re.compile(r"([0-9a-f]{10})-[0-9a-f]{16}")
_FILE = re.compile(r"([0-9a-f]{10}-[0-9a-f]{16})\.(ready|draining)")
_TEMPORARY = re.compile(r"\.[0-9a-f]{10}-[0-9a-f]{16}")
_MODEL = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class InvalidEntryError(ValueError):
    """A file doesn't describe a replica; the text names the field."""

    @override
    def __str__(self) -> str:
        return f"not a replica's file: {super().__str__()}"


class State(StrEnum):
    READY = "Ready"
    DRAINING = "Draining"


_STATE_BY_SUFFIX = {"ready": State.READY, "draining": State.DRAINING}
_SUFFIX_BY_STATE = {state: suffix for suffix, state in _STATE_BY_SUFFIX.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Who listens where. `name` is `<revision>-<16 hex digits>`, new for each process."""

    name: str
    namespace: str
    model: str
    revision: str
    port: int

    def content(self) -> bytes:
        """The replica's file."""
        fields = {"namespace": self.namespace, "model": self.model, "revision": self.revision, "port": self.port}
        return orjson.dumps(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A replica and whether it still takes new requests."""

    replica: Replica
    state: State

    def body(self) -> dict[str, str | int]:
        """As an answer lists it."""
        found = self.replica
        return {
            "name": found.name,
            "namespace": found.namespace,
            "model": found.model,
            "revision": found.revision,
            "port": found.port,
            "state": self.state.value,
        }


def make_name(revision: str) -> str:
    """A name that no other process has."""
    return f"{revision}-{secrets.token_hex(8)}"


def file_name(name: str, state: State) -> str:
    return f"{name}.{_SUFFIX_BY_STATE[state]}"


def temporary_name(name: str) -> str:
    """The file before its replica holds the lock; readers skip it."""
    return f".{name}"


def is_temporary(file: str) -> bool:
    return _TEMPORARY.fullmatch(file) is not None


def parse_file_name(file: str) -> tuple[str, State] | None:
    """The replica's name and state; None when the file is none of ours."""
    found = _FILE.fullmatch(file)
    return (found[1], _STATE_BY_SUFFIX[found[2]]) if found else None


def parse(name: str, content: bytes) -> Replica:
    """What the file of the replica `name` says; raises InvalidEntryError.

    Nothing in it is trusted: a model is code that runs as our user.
    """
    if len(content) > FILE_BYTES_MAX:
        raise InvalidEntryError(f"more than {FILE_BYTES_MAX} bytes")
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise InvalidEntryError("no JSON") from None
    if not isinstance(fields, dict):
        raise InvalidEntryError("no JSON object")
    named = _NAME.fullmatch(name)
    port = fields.get("port")
    if named is None or fields.get("revision") != named[1]:
        raise InvalidEntryError("revision: it must be the beginning of the file's name")
    if type(port) is not int or not 1 <= port <= 65535:
        raise InvalidEntryError("port: it must be a number from 1 to 65535")
    return Replica(
        name=name,
        namespace=_matching(fields, "namespace", _NAMESPACE),
        model=_matching(fields, "model", _MODEL),
        revision=named[1],
        port=port,
    )


def answer(cluster: str, entries: Iterable[Entry], *, version: str) -> bytes:
    """The body of `GET /v1/replicas`. Source: docs/contracts.md, "Replica discovery"."""
    listed = [entry.body() for entry in entries]
    return orjson.dumps({"schema": 1, "cluster": cluster, "version": version, "replicas": listed})


def _matching(fields: dict[str, object], field: str, form: re.Pattern[str]) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise InvalidEntryError(f"{field}: it must match {form.pattern}")
    return value
