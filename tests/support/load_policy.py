"""An autoscaling policy as Ray Serve calls one: it knows nothing but what the replicas report."""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext


def by_reported_load(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """A second replica while any said, within the time that is looked back, that requests were in it."""
    reported = context.raw_metrics or {}
    values = [
        point.value for name in ("ongoing", "queued") for series in reported.get(name, {}).values() for point in series
    ]
    return (2 if any(values) else 1), {}
