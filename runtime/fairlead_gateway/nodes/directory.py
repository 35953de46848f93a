"""One answer of a node's directory: read, checked, bounded. Pure.

The files behind it are written by the user that models run as, so an answer is checked like any input.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

BODY_BYTES_MAX = 1 << 20
REPLICAS_MAX = 4096
_VERSION = r"^[A-Za-z0-9._-]{1,64}$"
_NAME = re.compile(r"([0-9a-f]{10})-[0-9a-f]{16}")
_MODEL = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")


class InvalidAnswerError(ValueError):
    """An answer that says nothing about the node; the text says which field is wrong and how."""


class State(enum.StrEnum):
    """Whether a replica takes new requests."""

    READY = "Ready"
    DRAINING = "Draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One living replica of our namespace. It is reached at the address at which its node was asked."""

    name: str
    model: str
    revision: str
    port: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The node's replicas by name; `refused` entries were left out."""

    version: str
    replicas: Mapping[str, Replica]
    refused: int


class _Body(pydantic.BaseModel):
    schema_: Literal[1] = pydantic.Field(alias="schema")
    cluster: Annotated[str, pydantic.Field(max_length=200)]
    version: Annotated[str, pydantic.StringConstraints(pattern=_VERSION)]
    replicas: Annotated[list[Any], pydantic.Field(max_length=REPLICAS_MAX)]


def parse(body: bytes, *, namespace: str, cluster: str) -> Answer:
    """Read an answer of a node of this namespace's cluster. Replicas of other namespaces are left out.

    One entry that is odd is left out alone: it must not hide the others.

    Raises:
        InvalidAnswerError: when the answer as a whole is odd, or is of another cluster.
    """
    try:
        found = _Body.model_validate(json.loads(body))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidAnswerError(
            f"{'.'.join(str(part)[:64] for part in first['loc'])}: {first['msg'][:200]}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"not JSON: {str(error)[:200]}") from error
    expected = f"{namespace}/{cluster}"
    if found.cluster != expected:
        raise InvalidAnswerError(f"cluster: the answer is of {found.cluster[:130]!r}, not of {expected!r}")
    replicas: dict[str, Replica] = {}
    refused = 0
    for entry in found.replicas:
        if isinstance(entry, dict) and isinstance(entry.get("namespace"), str) and entry["namespace"] != namespace:
            continue
        replica = _replica(entry)
        if replica is None or replica.name in replicas:
            refused += 1
        else:
            replicas[replica.name] = replica
    return Answer(version=found.version, replicas=replicas, refused=refused)


def _replica(entry: Any) -> Replica | None:
    """The replica of an entry; None when anything in it is odd."""
    if not isinstance(entry, dict):
        return None
    name, model, port, state = (entry.get(field) for field in ("name", "model", "port", "state"))
    named = _NAME.fullmatch(name) if isinstance(name, str) else None
    if named is None or entry.get("revision") != named[1] or not isinstance(entry.get("namespace"), str):
        return None
    if not isinstance(model, str) or _MODEL.fullmatch(model) is None:
        return None
    if type(port) is not int or not 0 < port < 65536 or state not in tuple(State):
        return None
    return Replica(name=named[0], model=model, revision=named[1], port=port, state=State(state))
