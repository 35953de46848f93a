"""What Ray Serve imports: `fairlead_runtime.app:build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.replica import Replica


def build(args: Mapping[str, Any]) -> Any:
    """The application of one revision, with one deployment; a wrong configuration fails here, before any replica."""
    raw = args.get("config")
    if not isinstance(raw, Mapping):
        raise LoadError(LoadReason.CONFIG_INVALID, "args.config: is missing; it holds the replica's configuration")
    config.parse(raw)
    deployment = serve.deployment(
        Replica,
        name="replica",
        # Before it asks a replica to drain, Ray waits this long for requests; none pass through it.
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5,
        health_check_timeout_s=30,
    )
    return deployment.bind(dict(raw))
