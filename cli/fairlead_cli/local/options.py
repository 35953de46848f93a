"""What a person or a test may choose for a cluster; remembered with it, so that a restart uses the same."""

from __future__ import annotations

import pathlib
import re
from typing import Annotated

import pydantic

_CLASS = re.compile("[a-z]([-a-z0-9]{0,37}[a-z0-9])?")
_FIRST = "default"


def _require_class(name: str) -> str:
    """The name of the second class; empty where there is none."""
    if name and (not _CLASS.fullmatch(name) or name == _FIRST):
        raise ValueError(
            f"must start with a letter, have letters, digits and dashes, at most 39, and not be {_FIRST!r}, which is "
            "the class of the first Ray cluster"
        )
    return name


class Options(pydantic.BaseModel):
    """`ray_cpus` of each Ray node are logical: replicas ask for shares of them, the machine need not have as many.

    With `second_class` there is a second Ray cluster of one node, which `spec.cluster.class` calls by that name.
    `models_cache` is the folder of the nodes' cache of models; without it, it is the one that all local clusters share.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespace: str = "default"
    ray_nodes: int = pydantic.Field(default=1, ge=1, le=2)
    ray_cpus: int = pydantic.Field(default=8, ge=1)
    second_class: Annotated[str, pydantic.AfterValidator(_require_class)] = ""
    second_cpus: int = pydantic.Field(default=8, ge=1)
    models_cache: pathlib.Path | None = None
    ray_object_store_bytes: int = pydantic.Field(default=200_000_000, ge=80_000_000)
    operator_arguments: tuple[str, ...] = ()
    gateway_arguments: tuple[str, ...] = ()
