"""Candidates of `fairlead compare` with figures by hand."""

from __future__ import annotations

import numpy as np

from fairlead_cli.comparison.figures import Latency, Measured
from fairlead_runtime.model import evaluation_record
from fairlead_runtime.model.evaluation_record import Data, EvaluationRecord, Metric

SAMPLES = 400
DIGEST = f"sha256:{'0' * 64}"


def measured(
    name: str,
    *,
    wrong: range = range(0),
    p50_ms: float = 1.0,
    noise: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    memory_mib: int = 300,
    size_bytes: int = 1000,
) -> Measured:
    """A candidate that has the samples of `wrong` wrong; its rounds differ by `noise` percent."""
    right = np.ones(SAMPLES, dtype=bool)
    right[list(wrong)] = False
    correct = int(right.sum())
    record = EvaluationRecord(
        metric=Metric.ACCURACY,
        value=correct / SAMPLES,
        interval=evaluation_record.wilson(correct, SAMPLES),
        samples=SAMPLES,
        correct=correct,
        signature="serving_default",
        model_digest=DIGEST,
        data=Data(name="heldout.npz", digest=DIGEST),
        classes=(),
        classes_left_out=0,
        versions={},
    )
    times = [p50_ms * 1e-3 * (1 + percent / 100) for percent in noise]
    latency = Latency(p50_s=times, p99_s=[3 * each for each in times], calls=1000)
    return Measured(
        name=name,
        record=record,
        right=right,
        engine="TensorFlow",
        why="Requested",
        latency={1: latency, 32: latency},
        load_s=1.0,
        memory_bytes=memory_mib * 2**20,
        pss_bytes=memory_mib * 2**20,
        size_bytes=size_bytes,
    )
