"""What a serving class can never hold is refused; what has no room yet waits for Ray's autoscaler."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.state.capacity import Size
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.workers import WorkerLimits, WorkerPods

NAME = "digits"
SMALL = WorkerLimits(class_name="small", size=Size(cpu_cores=2, memory_bytes=2**32), most=3)


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def applied(limits: WorkerLimits | None = SMALL, *, resources: Any = None, **scaling: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.limits = limits
    world.apply(
        NAME,
        model={"uri": "file:///m/1"},
        scaling=scaling,
        serving={"resources": resources or {"cpu": "1", "memory": "1Gi"}},
        rollout={"progressDeadlineSeconds": 60},
    )
    world.settle()
    return world


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"cpu": "3", "memory": "1Gi"},
        {},
        "a replica needs 3 CPU (spec.serving.resources.cpu), a worker has 2 CPU (spec.worker.cpu of ServingClass",
    ),
    (
        {"cpu": "1", "memory": "5Gi"},
        {},
        "a replica needs 5120 MiB (spec.serving.resources.memory), a worker has 4096 MiB (spec.worker.memory of",
    ),
    (
        {"cpu": "1", "memory": "1Gi"},
        {"replicas": 7},
        "needs 7 replicas (spec.scaling.replicas), but its Ray cluster has room for 6: it can have 3 workers "
        "(spec.workers.max of ServingClass small), each with room for 2",
    ),
    (
        {"cpu": "2", "memory": "1Gi"},
        {"minReplicas": 4, "maxReplicas": 9, "target": {"ongoingRequests": 2}},
        "needs 4 replicas (spec.scaling.minReplicas), but its Ray cluster has room for 3",
    ),
    (
        {"cpu": "2", "memory": "1Gi"},
        {"replicas": 5, "minReplicas": 1, "maxReplicas": 9, "target": {"ongoingRequests": 2}},
        "needs 5 replicas (spec.scaling.replicas), but its Ray cluster has room for 3",
    ),
    (
        {"cpu": "2", "memory": "1Gi"},
        {"replicas": 9, "minReplicas": 1, "maxReplicas": 4, "target": {"ongoingRequests": 2}},
        "needs 4 replicas (spec.scaling.maxReplicas), but its Ray cluster has room for 3",
    ),
]


@pytest.mark.parametrize(("resources", "scaling", "words"), REFUSED)
def test_what_can_never_run_is_refused_before_it_is_started(
    resources: dict[str, Any], scaling: dict[str, Any], words: str
) -> None:
    world = applied(resources=resources, **scaling)
    plan = world.pass_model(NAME)
    assert plan.reason is Reason.EXCEEDS_CLASS
    assert words in plan.message
    assert (serving(world).rollout, world.applications) == (None, {})
    world.advance(86400)
    world.settle()
    assert serving(world).quarantine == ()


def test_all_stages_of_a_replica_count_against_the_workers_of_a_class() -> None:
    def applied_in_stages(replicas: int) -> VirtualWorld:
        world = VirtualWorld()
        world.limits = SMALL
        world.apply(
            NAME,
            model={"uri": "file:///m/1"},
            scaling={"replicas": replicas},
            serving={"resources": {"cpu": "1", "memory": "1Gi"}},
            optimization={"parallelism": {"stages": 4}},
        )
        world.settle()
        return world

    plan = applied_in_stages(2).pass_model(NAME)
    assert plan.reason is Reason.EXCEEDS_CLASS
    assert (
        "needs 2 replicas (spec.scaling.replicas) of 4 stages each, but its Ray cluster has room for 1" in plan.message
    )
    assert "each with room for 2 stages." in plan.message
    assert len(applied_in_stages(1).applications) == 1


def test_it_begins_once_the_class_allows_it() -> None:
    world = applied(resources={"cpu": "3", "memory": "1Gi"})
    world.limits = WorkerLimits(class_name="small", size=Size(cpu_cores=4, memory_bytes=2**32), most=3)
    world.settle()
    assert serving(world).stable is not None


def test_what_fits_begins_and_so_does_what_no_class_limits() -> None:
    assert serving(applied(replicas=6)).stable is not None
    assert serving(applied(None, resources={"cpu": "64", "memory": "1Gi"})).stable is not None
    up_to_nine = {"minReplicas": 1, "maxReplicas": 9, "target": {"ongoingRequests": 2}}
    assert serving(applied(**up_to_nine)).stable is not None


def test_what_serves_goes_on_beside_a_desired_revision_that_can_never_run() -> None:
    world = applied(replicas=2)
    before = serving(world).stable
    world.change(NAME, "serving.resources.cpu", "3")
    world.settle()
    assert (serving(world).stable, serving(world).rollout) == (before, None)
    assert world.pass_model(NAME).reason is Reason.EXCEEDS_CLASS
    assert [app.running for app in world.applications.values()] == [2]


def test_a_rollout_that_never_fits_beside_what_serves_waits_and_names_the_bound() -> None:
    world = applied(replicas=5)
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    plan = world.pass_model(NAME)
    assert plan.reason is Reason.INSUFFICIENT_CAPACITY
    assert "has room for 1" in plan.message
    assert "can have at most 3 workers (spec.workers.max of ServingClass " in plan.message


def test_a_rollout_that_the_class_has_room_for_begins() -> None:
    world = applied(replicas=3)
    world.change(NAME, "model.uri", "file:///m/2")
    world.settle()
    assert world.models[NAME].revisions[str(serving(world).stable)].number == 2


def moved(pods: WorkerPods) -> VirtualWorld:
    """A candidate whose replicas have no room, an hour after it was desired."""
    world = applied()
    world.change(NAME, "model.uri", "file:///m/2")
    for _ in range(20):
        world.pass_model(NAME)
        world.pass_ray()
        candidate = serving(world).candidate
        if candidate is not None:
            break
    for name, application in world.applications.items():
        if name.endswith(str(candidate)):
            application.room = 0
    world.workers = {world.placement: pods}
    world.settle()
    world.advance(3600)
    world.settle()
    return world


def test_the_deadline_stands_still_while_a_worker_may_still_be_added() -> None:
    world = moved(WorkerPods(wanted=2, most=3, unscheduled=1, reason="0/1 nodes are available: 1 Insufficient cpu"))
    assert (serving(world).candidate is not None, serving(world).quarantine) == (True, ())
    assert "1 worker pod can't be scheduled: 0/1 nodes are available" in world.pass_model(NAME).message


def test_the_deadline_counts_once_no_worker_may_be_added() -> None:
    world = moved(WorkerPods(wanted=3, most=3))
    assert [each.reason for each in serving(world).quarantine] == [Reason.PROGRESS_DEADLINE_EXCEEDED]
