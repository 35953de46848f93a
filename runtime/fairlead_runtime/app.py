"""What Ray Serve imports: `fairlead_runtime.app:build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.replica import Replica
from fairlead_runtime.stage_replica import StageReplica


def build(args: Mapping[str, Any]) -> Any:
    """The application of one revision: one deployment for each stage of its model.

    A wrong configuration fails here, before any replica.
    """
    raw = args.get("config")
    if not isinstance(raw, Mapping):
        raise LoadError(LoadReason.CONFIG_INVALID, "args.config: is missing; it holds the replica's configuration")
    parallelism = config.parse(raw).parallelism
    deployment = serve.deployment(
        Replica,
        name="replica",
        # Before it asks a replica to drain, Ray waits this long for requests; none pass through it.
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5,
        health_check_timeout_s=30,
    )
    stages = 1 if parallelism is None else parallelism.stages
    return deployment.bind(dict(raw), *(_stage(raw, number) for number in range(2, stages + 1)))


def _stage(raw: Mapping[str, Any], number: int) -> Any:
    """The deployment of a further stage; its one request at a time lasts as long as a first stage uses it."""
    deployment = serve.deployment(
        StageReplica,
        name=f"stage-{number}",
        max_ongoing_requests=1,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5,
        health_check_timeout_s=30,
    )
    return deployment.bind(dict(raw), number)
