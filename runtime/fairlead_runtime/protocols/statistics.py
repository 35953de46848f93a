"""What a replica has counted, in the words of Triton's statistics extension; REST and gRPC have the same fields.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import time
from typing import Any

from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.protocols.http import Headers

REPLICA_HEADER = b"x-fairlead-replica"


def describe(dataplane: Dataplane) -> list[dict[str, Any]]:
    """The elements of `model_stats`. Durations are in nanoseconds, `last_inference` in milliseconds since the epoch.

    Requests and their times are those that clients asked for; executions are all calls of the model, and `queue` is
    what a request spent neither in its own decoding and encoding nor in its call.
    """
    identity, counted = dataplane.identity, dataplane.metrics.predictions
    calls = dataplane.metrics.batch_rows
    counted_here = {
        "name": identity.model,
        "version": str(identity.number),
        "last_inference": _milliseconds(counted.last_s),
        "inference_count": int(calls.sum),
        "execution_count": calls.count,
        "inference_stats": {
            "success": _duration(counted.answered, counted.answered_s),
            "fail": _duration(counted.refused, counted.refused_s),
            "queue": _duration(counted.answered, counted.wait_s),
            "compute_input": _duration(counted.answered, counted.decode_s),
            "compute_infer": _duration(counted.answered, counted.call_s),
            "compute_output": _duration(counted.answered, counted.encode_s),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
    }
    return [counted_here]


def headers(dataplane: Dataplane) -> Headers:
    """Whose counters these are: behind a gateway each replica of a revision has its own."""
    return ((REPLICA_HEADER, dataplane.identity.name.encode()),)


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}


def _milliseconds(counted_s: float | None) -> int:
    """The time of the wall clock; 0 for never."""
    if counted_s is None:
        return 0
    return round((time.time() - (time.perf_counter() - counted_s)) * 1000)
