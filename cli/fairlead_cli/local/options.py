"""What a person or a test may choose for a cluster; remembered with it, so that a restart uses the same."""

from __future__ import annotations

import pydantic


class Options(pydantic.BaseModel):
    """`ray_cpus` of each Ray node are logical: replicas ask for shares of them, the machine need not have as many."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespace: str = "default"
    ray_nodes: int = pydantic.Field(default=1, ge=1, le=2)
    ray_cpus: int = pydantic.Field(default=8, ge=1)
    ray_object_store_bytes: int = pydantic.Field(default=200_000_000, ge=80_000_000)
    operator_arguments: tuple[str, ...] = ()
    gateway_arguments: tuple[str, ...] = ()
