"""`status.scaling`: how many replicas there should be and are, and one sentence on what the others wait for."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.api.revision_status import ScalingStatus
from fairlead_operator.desired import build
from fairlead_operator.state.actions import Done, Plan, Wait
from fairlead_operator.state.desired import Desired
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ApplicationView
from fairlead_operator.state.workers import WorkerPods
from fairlead_operator.status import scaling
from fairlead_operator.status.pass_result import PassResult

AUTOMATIC: dict[str, Any] = {"minReplicas": 2, "maxReplicas": 8, "target": {"ongoingRequests": 4}}
SINCE = datetime.datetime(2026, 1, 2, 12, 3, 7, tzinfo=datetime.UTC)


def described(
    spec: dict[str, Any] = AUTOMATIC,
    *,
    is_readable: bool = True,
    status: dict[str, Any] | None = None,
    workers: WorkerPods | None = None,
    **seen: Any,
) -> ScalingStatus | None:
    revision = builders.revision(builders.spec(scaling=spec))
    view = builders.model_deployment(
        spec={"scaling": spec}, status={"stableRevision": revision.revision, **(status or {})}
    )
    desired = build.build(view, (revision,), builders.BOUNDS)
    assert isinstance(desired, Desired)
    application = desired.revisions[revision.revision].application
    assert application is not None
    shown: ApplicationView = builders.application(application.name, application.body, **seen)
    serve = builders.serve(shown) if is_readable else Unknown("timed out")
    known = {"default": workers} if workers is not None else {}
    observed = builders.observed(view, serve={"default": serve}, workers=known)
    plan = Plan(
        key=observed.key,
        action=Wait(),
        serving=view.serving,
        reason=Reason.SERVING,
        message="",
        requeue_after_s=1,
    )
    return scaling.describe(
        PassResult(
            desired=desired,
            view=view,
            observed=observed,
            plan=plan,
            outcome=Done(),
            serving=view.serving,
            now=builders.NOW,
        )
    )


@pytest.mark.parametrize(
    ("spec", "target", "running", "waiting", "message"),
    [
        (AUTOMATIC, 3, 3, 0, "3 replicas; the load decides between 2 and 8."),
        (AUTOMATIC, 8, 8, 0, "8 replicas, which is the maximum."),
        (AUTOMATIC, 5, 3, 0, "3 of 5 replicas; 2 start."),
        (AUTOMATIC, 3, 5, 0, "5 replicas; 2 stop."),
        (
            AUTOMATIC,
            5,
            3,
            2,
            "3 of 5 replicas; 2 wait for placement on the Ray cluster (0.5 CPU and 512 MiB each) since "
            "2026-01-02T12:03:07Z.",
        ),
        (
            AUTOMATIC,
            5,
            3,
            1,
            "3 of 5 replicas; 1 waits for placement on the Ray cluster (0.5 CPU and 512 MiB each) since "
            "2026-01-02T12:03:07Z, 1 starts.",
        ),
        ({"replicas": 1}, 1, 1, 0, "1 replica, as spec.scaling asks."),
    ],
)
def test_the_sentence_says_what_is_there_and_what_is_waited_for(
    spec: dict[str, Any], target: int, running: int, waiting: int, message: str
) -> None:
    found = described(
        spec,
        target_replicas=target,
        running_replicas=running,
        waiting_replicas=waiting,
        waiting_since=SINCE if waiting else None,
    )
    assert found is not None
    assert found.message == message
    assert (found.desired_replicas, found.replicas) == (target, running)
    assert found.waiting_since == (SINCE if waiting else None)


def test_the_bounds_are_those_that_hold_now() -> None:
    found = described({**AUTOMATIC, "replicas": 4}, target_replicas=4, running_replicas=4)
    assert found is not None
    assert (found.min_replicas, found.max_replicas) == (4, 8)


def test_what_was_known_stands_while_ray_cannot_be_read() -> None:
    known = {"desiredReplicas": 3, "replicas": 3, "minReplicas": 2, "maxReplicas": 8, "message": "as it was"}
    found = described(status={"scaling": known}, is_readable=False)
    assert found is not None
    assert found.message == "as it was"


def test_it_says_what_the_workers_wait_for() -> None:
    pods = WorkerPods(wanted=3, most=4, unscheduled=1, unscheduled_since=SINCE, reason="0/1 nodes are available")
    seen: dict[str, Any] = {"target_replicas": 5, "running_replicas": 3, "waiting_replicas": 2, "waiting_since": SINCE}
    found = described(workers=pods, **seen)
    assert found is not None
    assert found.message == (
        "3 of 5 replicas; 2 wait for placement on the Ray cluster (0.5 CPU and 512 MiB each) since "
        "2026-01-02T12:03:07Z; 1 worker pod can't be scheduled since 2026-01-02T12:03:07Z: 0/1 nodes are available."
    )
