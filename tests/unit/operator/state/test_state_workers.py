"""What one worker holds, and the words for workers that don't run yet."""

from __future__ import annotations

import datetime

import pytest

from fairlead_operator.state.capacity import Size
from fairlead_operator.state.workers import WorkerLimits, WorkerPods

SINCE = datetime.datetime(2026, 1, 2, 12, 3, 7, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("replica", "count"),
    [
        (Size(cpu_cores=0.5, memory_bytes=2**29), 4),
        (Size(cpu_cores=0.1, memory_bytes=2**30), 4),
        (Size(cpu_cores=2, memory_bytes=2**32), 1),
        (Size(cpu_cores=2.5, memory_bytes=2**20), 0),
        (Size(cpu_cores=0.5, memory_bytes=2**33), 0),
    ],
)
def test_a_worker_holds_what_both_of_its_resources_allow(replica: Size, count: int) -> None:
    worker = Size(cpu_cores=2, memory_bytes=2**32)
    limits = WorkerLimits(class_name="small", size=worker, most=3)
    assert limits.each_holds(replica) == count


@pytest.mark.parametrize(
    ("pods", "words", "may_grow"),
    [
        (
            WorkerPods(wanted=3, most=3, starting=1, unscheduled=1, unscheduled_since=SINCE, reason="no node"),
            "1 worker pod can't be scheduled since 2026-01-02T12:03:07Z: no node",
            True,
        ),
        (WorkerPods(wanted=3, most=3, unscheduled=2), "2 worker pods can't be scheduled", True),
        (WorkerPods(wanted=3, most=3, starting=2), "2 worker pods start", True),
        (WorkerPods(wanted=3, most=3), "the Ray cluster has its maximum of 3 worker pods", False),
        (WorkerPods(wanted=1, most=3), "Ray has asked for 1 worker pod so far", True),
    ],
)
def test_what_replicas_wait_for_is_said_from_the_pods(pods: WorkerPods, words: str, may_grow: bool) -> None:
    assert (pods.describe(), pods.may_grow) == (words, may_grow)
