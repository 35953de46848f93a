"""After a promotion: what takes the warm revision back, what doesn't, and what ends its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.virtual_world import NAMESPACE, Fault, RayApplication, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.status import Verb
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import RouteText

NAME = "digits"
WINDOW: dict[str, Any] = {"rollbackWindow": {"seconds": 600}}


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def number(world: VirtualWorld, revision: str | None) -> int:
    return world.models[NAME].revisions[str(revision)].number


def application(world: VirtualWorld, revision: str | None) -> RayApplication:
    return world.applications[names.serve_application(NAMESPACE, NAME, str(revision))]


def rounds(world: VirtualWorld, count: int, fault: Fault = Fault.NONE) -> None:
    for _ in range(count):
        world.pass_model(NAME, fault)
        world.pass_ray()
        world.tick()


def until(world: VirtualWorld, is_so: Callable[[], bool]) -> None:
    for _ in range(100):
        if is_so():
            return
        rounds(world, 1)
    raise AssertionError(f"never so; last plan: {world.plans[-1]}")


def changed(phase: Phase = Phase.WATCHING, **rollout: Any) -> VirtualWorld:
    """Revision 2 follows revision 1, up to this phase."""
    world = VirtualWorld()
    world.apply(
        NAME,
        model={"uri": "file:///m/1"},
        rollout={"progressDeadlineSeconds": 60, **WINDOW, **rollout},
        scaling={"replicas": 2},
    )
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).phase is phase)
    rounds(world, 2)
    return world


def weights(world: VirtualWorld) -> dict[int, int]:
    return {number(world, r): share for r, share in RouteText(text=world.routes[NAME]).weights().items()}


def condemned(world: VirtualWorld) -> list[tuple[int, str]]:
    return [(number(world, q.revision), q.reason) for q in serving(world).quarantine]


def test_a_promoted_revision_that_stays_away_is_taken_back_and_not_tried_again() -> None:
    world = changed()
    world.stop_replicas(NAME, 2)
    rounds(world, 25)
    assert weights(world) == {1: 10_000}
    assert condemned(world) == [(2, Reason.READINESS_LOST)]
    world.advance(86400)
    world.settle()
    assert weights(world) == {1: 10_000}


def test_one_replica_that_comes_back_is_no_failure() -> None:
    world = changed()
    world.kill_replica(names.serve_application(NAMESPACE, NAME, str(serving(world).stable)))
    rounds(world, 30)
    assert (weights(world), condemned(world)) == ({2: 10_000}, [])
    health = serving(world).rollout
    assert health is not None
    assert health.health.unwell_since is None


def test_three_crashes_in_ten_minutes_are_a_loop() -> None:
    world = changed()
    for _ in range(3):
        name = names.serve_application(NAMESPACE, NAME, str(serving(world).stable))
        world.kill_replica(name)
        rounds(world, 4)
    assert condemned(world) == [(2, Reason.CRASH_LOOP)]


def crashes(world: VirtualWorld) -> int:
    rollout = serving(world).rollout
    assert rollout is not None
    return len(rollout.health.crashes)


def test_replicas_that_end_together_are_one_crash_in_however_many_reads_ray_reports_it() -> None:
    world = changed()
    name = names.serve_application(NAMESPACE, NAME, str(serving(world).stable))
    world.kill_replica(name)
    rounds(world, 3)
    assert application(world, serving(world).stable).running == 2  # the first one is replaced already
    world.kill_replica(name, which=0)
    rounds(world, 4)
    assert crashes(world) == 1


def test_a_replacement_that_crashes_at_once_is_another_crash() -> None:
    world = changed()
    name = names.serve_application(NAMESPACE, NAME, str(serving(world).stable))
    world.kill_replica(name)
    rounds(world, 3)
    world.kill_replica(name)
    rounds(world, 4)
    assert crashes(world) == 2


def test_each_replica_that_crashes_while_ray_reports_it_unhealthy_counts() -> None:
    world = changed()
    name = names.serve_application(NAMESPACE, NAME, str(serving(world).stable))
    application(world, serving(world).stable).room = 1  # no node has room for the replacement
    world.kill_replica(name)
    rounds(world, 12)
    assert crashes(world) == 1
    application(world, serving(world).stable).room = 0
    world.kill_replica(name, which=0)
    rounds(world, 4)
    assert crashes(world) == 2


def test_three_crashes_far_apart_are_none() -> None:
    world = changed(rollbackWindow={"seconds": 86400})
    for _ in range(5):
        world.kill_replica(names.serve_application(NAMESPACE, NAME, str(serving(world).stable)))
        rounds(world, 4)
        world.advance(400)
    assert condemned(world) == []


def test_what_takes_both_revisions_is_not_the_model_s_fault() -> None:
    world = changed()
    world.stop_replicas(NAME, 1)
    world.stop_replicas(NAME, 2)
    rounds(world, 60)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_while_ray_cannot_be_read_nobody_is_condemned() -> None:
    world = changed()
    world.stop_replicas(NAME, 2)
    rounds(world, 60, Fault.RAY_UNREAD)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_a_gateway_that_cannot_be_read_does_not_hold_up_the_return_to_the_warm_revision() -> None:
    world = changed()
    world.stop_replicas(NAME, 2)
    rounds(world, 60, Fault.GATEWAY_UNREAD)
    assert condemned(world) == [(2, Reason.READINESS_LOST)]
    assert weights(world) == {1: 10_000}


def test_a_gateway_that_cannot_be_read_and_a_warm_revision_that_is_not_ready_undo_no_promotion() -> None:
    world = changed()
    world.stop_replicas(NAME, 1)
    world.stop_replicas(NAME, 2)
    rounds(world, 60, Fault.GATEWAY_UNREAD)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_a_gateway_that_cannot_be_read_does_not_hold_up_the_withdrawal_of_a_candidate_that_ray_calls_unhealthy() -> (
    None
):
    world = changed(Phase.SHIFTING, strategy="Canary", steps=[{"setWeight": 25}, {"pause": {}}])
    world.stop_replicas(NAME, 2)
    rounds(world, 60, Fault.GATEWAY_UNREAD)
    assert condemned(world) == [(2, Reason.READINESS_LOST)]
    assert weights(world) == {1: 10_000}, "the route is written; who can read it follows"
    world.settle()
    assert number(world, serving(world).stable) == 1
    assert len(world.applications) == 1


def test_a_gateway_that_cannot_be_read_and_a_stable_revision_that_is_not_ready_condemn_no_candidate() -> None:
    world = changed(Phase.SHIFTING, strategy="Canary", steps=[{"setWeight": 25}, {"pause": {}}])
    world.stop_replicas(NAME, 1)
    world.stop_replicas(NAME, 2)
    rounds(world, 60, Fault.GATEWAY_UNREAD)
    assert condemned(world) == []


def test_a_restarted_head_is_waited_for_however_slowly_the_new_one_loads() -> None:
    world = changed()
    world.lose_ray()
    until(world, lambda: bool(world.applications))
    application(world, serving(world).stable).is_stuck = True
    rounds(world, 60)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])
    application(world, serving(world).stable).is_stuck = False
    rounds(world, 5)
    world.stop_replicas(NAME, 2)
    rounds(world, 25)
    assert condemned(world) == [(2, Reason.READINESS_LOST)]


def test_scaling_to_zero_is_no_failure_and_ends_the_window() -> None:
    world = changed()
    world.change(NAME, "scaling.replicas", 0)
    world.settle()
    assert (serving(world).phase, condemned(world)) == (None, [])


def test_scaling_up_reaches_both_revisions() -> None:
    world = changed()
    world.change(NAME, "scaling.replicas", 4)
    rounds(world, 10)
    assert serving(world).phase is Phase.WATCHING
    assert [app.running for app in world.applications.values()] == [4, 4]
    assert world.plans[-1].reason is Reason.ROLLBACK_WINDOW_OPEN


@pytest.mark.parametrize("by", ["the spec", "a request"])
def test_a_way_back_within_the_window_starts_nothing_and_takes_no_steps(by: str) -> None:
    world = changed()
    before = len(world.writes)
    if by == "the spec":
        world.change(NAME, "model.uri", "file:///m/1")
    else:
        world.ask(NAME, Verb.ROLLBACK)
    rounds(world, 3)
    assert weights(world) == {1: 10_000}
    assert [w.kind for w in world.writes[before:] if w.kind != "status"] == ["WriteRoute"]
    world.settle()
    assert (serving(world).phase, number(world, serving(world).stable)) == (None, 1)


def test_a_warm_revision_without_replicas_comes_back_as_any_candidate() -> None:
    world = changed()
    application(world, serving(world).leaving).is_stuck = True
    application(world, serving(world).leaving).running = 0
    world.change(NAME, "model.uri", "file:///m/1")
    rounds(world, 3)
    assert number(world, serving(world).candidate) == 1
    assert weights(world) == {2: 10_000}


def test_a_third_revision_ends_the_window_and_begins() -> None:
    world = changed()
    world.change(NAME, "model.uri", "file:///m/3")
    until(world, lambda: weights(world) == {3: 10_000})
    assert len(world.applications) == 2


def test_the_window_ends_by_the_clock_and_nothing_of_it_stays() -> None:
    world = changed()
    world.advance(600)
    world.settle()
    assert (serving(world).phase, len(world.applications)) == (None, 1)


def test_a_longer_scale_down_delay_takes_nothing_back_by_itself_once_the_window_is_over() -> None:
    world = changed(
        Phase.SHIFTING, strategy="BlueGreen", blueGreen={"autoPromoteSeconds": 1, "scaleDownDelaySeconds": 3600}
    )
    until(world, lambda: serving(world).phase is Phase.WATCHING)
    world.advance(700)
    world.stop_replicas(NAME, 2)
    rounds(world, 60)
    assert (serving(world).phase, condemned(world)) == (Phase.WATCHING, [])


def test_what_a_person_left_does_not_come_back_by_itself() -> None:
    world = changed(rollbackWindow={"seconds": 60})
    world.advance(60)
    world.settle()
    world.ask(NAME, Verb.ROLLBACK)
    until(world, lambda: serving(world).phase is Phase.WATCHING)
    world.stop_replicas(NAME, 1)
    rounds(world, 40)
    assert number(world, serving(world).stable) == 1


@pytest.mark.parametrize("crashes", [False, True])
def test_a_candidate_with_traffic_that_stays_or_keeps_falling_down_is_withdrawn(crashes: bool) -> None:
    world = changed(Phase.SHIFTING, strategy="Canary", steps=[{"setWeight": 25}, {"pause": {}}])
    for _ in range(3):
        if crashes:
            world.kill_replica(names.serve_application(NAMESPACE, NAME, str(serving(world).candidate)))
        else:
            world.stop_replicas(NAME, 2)
        rounds(world, 10)
        if not crashes:
            break
    rounds(world, 20)
    assert condemned(world) == [(2, Reason.CRASH_LOOP if crashes else Reason.READINESS_LOST)]
    assert weights(world) == {1: 10_000}


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.WATCHING])
def test_a_crash_loop_is_told_in_the_words_of_the_crash_though_it_is_up_again_at_once(phase: Phase) -> None:
    steps = {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]} if phase is Phase.SHIFTING else {}
    world = changed(phase, **steps)
    for _ in range(3):
        world.crash_replica(NAME, 2, "Traceback (most recent call last):\nSegmentationFault: in MatMul")
        world.pass_model(NAME)
        world.tick()
        rounds(world, 3)
    (entry,) = serving(world).quarantine
    assert entry.reason == Reason.CRASH_LOOP
    assert "It crashed 3 times within 600 s" in entry.message
    assert "SegmentationFault: in MatMul" in entry.message


def test_nothing_is_written_while_a_well_revision_is_watched() -> None:
    world = changed()
    before = len(world.writes)
    rounds(world, 30)
    assert world.writes[before:] == []
