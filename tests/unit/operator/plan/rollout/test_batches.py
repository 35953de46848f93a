"""A RollingUpdate in batches: capacity and traffic move together, forward and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.virtual_faults import Fault
from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import RequestOutcome, Rollout, Verb
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.strategies import RollingUpdate
from fairlead_operator.desired import batches
from fairlead_operator.state.desired import Batch
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import FULL_WEIGHT, RouteText

NAME = "digits"


def limits(surge: str, unavailable: str, replicas: int) -> tuple[int, int]:
    limit = batches.limits(RollingUpdate(surge=surge, unavailable=unavailable), replicas)
    return limit.surge, limit.unavailable


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "counts"),
    [
        ("1", "0", 4, (1, 0)),
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 1, (1, 0)),
        ("0", "25%", 1, (0, 1)),
        ("0%", "100%", 3, (0, 3)),
    ],
)
def test_percentages_are_rounded_as_kubernetes_rounds_them(
    surge: str, unavailable: str, replicas: int, counts: tuple[int, int]
) -> None:
    assert limits(surge, unavailable, replicas) == counts


def test_the_batches_of_four_replicas_with_one_more() -> None:
    assert batches.batches(batches.Limits(surge=1, unavailable=0), 4) == (
        Batch(candidate=1, weight=2500, stable=3),
        Batch(candidate=2, weight=5000, stable=2),
        Batch(candidate=3, weight=7500, stable=1),
        Batch(candidate=4, weight=10000, stable=0),
    )


@given(replicas=st.integers(1, 40), surge=st.integers(0, 40), unavailable=st.integers(0, 40))
def test_no_batch_breaks_a_limit_and_each_moves_on(replicas: int, surge: int, unavailable: int) -> None:
    limit = batches.Limits(surge=surge, unavailable=unavailable if surge or unavailable else 1)
    least = max(0, replicas - limit.unavailable)
    stable, weight = batches.stable_at_first(limit, replicas), -1
    assert stable >= least
    for batch in batches.batches(limit, replicas):
        assert batch.candidate + stable <= replicas + limit.surge
        assert batch.candidate + batch.stable >= min(least, replicas)
        assert batch.stable < stable
        assert batch.weight > weight
        stable, weight = batch.stable, batch.weight
    assert stable == 0
    assert weight in (-1, FULL_WEIGHT)
    assert (weight == -1) == (batches.stable_at_first(limit, replicas) == 0)


# --- in the virtual world


def serving(world: VirtualWorld) -> Serving:
    return recall(world.view(NAME).status)


def rollout(world: VirtualWorld) -> Rollout:
    found = serving(world).rollout
    assert found is not None
    return found


def number(world: VirtualWorld, revision: str | None) -> int:
    return world.models[NAME].revisions[str(revision)].number


def weights(world: VirtualWorld) -> dict[str, int]:
    return dict(RouteText(text=world.routes[NAME]).weights())


class Run:
    """Rounds of passes and ticks in which every limit is looked at after each."""

    def __init__(self, world: VirtualWorld, *, replicas: int, surge: int, unavailable: int) -> None:
        self.world, self.replicas, self.surge, self.least = world, replicas, surge, replicas - unavailable

    def round(self) -> None:
        self.world.pass_model(NAME)
        self.world.pass_ray()
        self._look()
        self.world.tick()
        self._look()

    def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(200):
            if is_so():
                return
            self.round()
        raise AssertionError(f"never so; last plan: {self.world.plans[-1]}")

    def _look(self) -> None:
        targets = {name: app.target for name, app in self.world.applications.items()}
        assert sum(targets.values()) <= self.replicas + self.surge, targets
        for gateway in self.world.gateways:
            shares = RouteText(text=gateway.routes[NAME]).weights() if NAME in gateway.routes else {}
            ready = {revision: self.world.running(NAME, revision) for revision in shares}
            assert sum(ready.values()) >= self.least, (ready, shares)
            for revision, share in shares.items():
                assert ready[revision] >= share * self.least // FULL_WEIGHT, (ready, shares)


def begun(surge: Any = 1, unavailable: Any = 0, *, replicas: int = 4, uri: str = "file:///m/2") -> Run:
    world = VirtualWorld()
    desired = {"progressDeadlineSeconds": 60, "rollingUpdate": {"surge": surge, "unavailable": unavailable}}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": replicas}, rollout=desired)
    world.settle()
    world.change(NAME, "model.uri", uri)
    return Run(world, replicas=replicas, surge=int(surge), unavailable=int(unavailable))


def at_half(run: Run) -> None:
    """Two of four batches are confirmed, and the third begins."""
    run.until(lambda: serving(run.world).phase is Phase.SHIFTING and rollout(run.world).step == 2)


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (2, 0), (1, 1), (0, 1), (0, 2), (0, 3), (4, 0), (9, 0)])
def test_a_rollout_keeps_to_both_limits_at_every_look(surge: int, unavailable: int) -> None:
    run = begun(surge, unavailable)
    run.until(lambda: serving(run.world).rollout is not None)
    run.until(lambda: serving(run.world).rollout is None)
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 2
    assert [app.running for app in run.world.applications.values()] == [4]


def test_where_all_may_be_missing_and_none_added_the_old_one_stops_first() -> None:
    run = begun(0, 4)
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 2
    assert any("Stopping revision 1" in plan.message for plan in run.world.plans)


def test_the_spec_s_way_back_gives_capacity_before_traffic() -> None:
    run = begun()
    at_half(run)
    run.world.change(NAME, "model.uri", "file:///m/1")
    run.until(lambda: serving(run.world).phase is Phase.RESTORING)
    run.until(lambda: serving(run.world).phase is Phase.WITHDRAWING)
    assert weights(run.world) == {str(serving(run.world).stable): FULL_WEIGHT}
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 1
    assert [app.running for app in run.world.applications.values()] == [4]


def test_a_third_revision_gives_capacity_back_before_it_begins() -> None:
    run = begun()
    at_half(run)
    run.world.change(NAME, "model.uri", "file:///m/3")
    run.until(lambda: weights(run.world) == {str(serving(run.world).stable): FULL_WEIGHT})
    assert number(run.world, serving(run.world).stable) == 1
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 3


def test_an_abort_gives_capacity_back_before_traffic_and_keeps_the_candidate_s_until_then() -> None:
    run = begun()
    at_half(run)
    candidate = str(serving(run.world).candidate)
    run.world.ask(NAME, Verb.ABORT)
    run.until(lambda: serving(run.world).phase is Phase.RESTORING)
    assert [(entry.revision, entry.reason) for entry in serving(run.world).quarantine] == [(candidate, Reason.ABORTED)]
    run.until(lambda: serving(run.world).phase is Phase.WITHDRAWING)
    assert weights(run.world) == {str(serving(run.world).stable): FULL_WEIGHT}
    run.until(lambda: serving(run.world).rollout is None)
    assert number(run.world, serving(run.world).stable) == 1
    run.world.settle()
    assert [app.running for app in run.world.applications.values()] == [4]


def test_an_abort_does_not_take_unread_gateways_for_gateways_without_replicas() -> None:
    run = begun()
    at_half(run)
    before = weights(run.world)
    run.world.ask(NAME, Verb.ABORT)
    run.world.pass_model(NAME, Fault.GATEWAY_UNREAD)
    assert serving(run.world).phase is Phase.RESTORING
    run.world.pass_model(NAME, Fault.GATEWAY_UNREAD)
    assert weights(run.world) == before
    run.until(lambda: serving(run.world).rollout is None)
    assert number(run.world, serving(run.world).stable) == 1


def test_a_way_back_counts_no_replica_that_ray_stops_and_the_gateways_still_see() -> None:
    run = begun(replicas=3)
    run.until(lambda: serving(run.world).phase is Phase.SHIFTING and rollout(run.world).step == 1)
    stable = str(serving(run.world).stable)
    run.until(lambda: run.world.running(NAME, stable) == 2)
    run.world.unnoticed[stable] = 1
    application = run.world.applications[names.serve_application(NAMESPACE, NAME, stable)]
    application.room = 2
    run.world.ask(NAME, Verb.ABORT)
    for _ in range(10):
        run.round()
    assert serving(run.world).phase is Phase.RESTORING
    application.room = 3
    run.until(lambda: serving(run.world).phase is Phase.WITHDRAWING)
    assert run.world.running(NAME, stable) == 3


def aborts_at_once(run: Run) -> None:
    run.world.ask(NAME, Verb.ABORT)
    for _ in range(3):
        run.world.pass_model(NAME)
    assert weights(run.world) == {str(serving(run.world).stable): FULL_WEIGHT}
    run.world.settle()
    assert [app.running for app in run.world.applications.values()] == [4]


def test_a_second_abort_waits_for_no_capacity() -> None:
    run = begun()
    at_half(run)
    run.world.ask(NAME, Verb.ABORT)
    run.world.pass_model(NAME)
    aborts_at_once(run)


def test_an_abort_of_a_candidate_that_is_not_ready_waits_for_no_capacity() -> None:
    run = begun()
    at_half(run)
    name = names.serve_application(NAMESPACE, NAME, str(serving(run.world).candidate))
    while run.world.applications[name].running:
        run.world.kill_replica(name)
    aborts_at_once(run)


def test_an_abort_ends_a_slow_way_back() -> None:
    run = begun()
    at_half(run)
    run.world.change(NAME, "model.uri", "file:///m/1")
    run.until(lambda: serving(run.world).phase is Phase.RESTORING)
    run.world.ask(NAME, Verb.ABORT)
    run.world.pass_model(NAME)
    assert serving(run.world).phase is Phase.WITHDRAWING


def test_a_way_back_without_room_ends_with_the_deadline() -> None:
    run = begun()
    at_half(run)
    for application in run.world.applications.values():
        application.is_stuck = True
    run.world.change(NAME, "model.uri", "file:///m/1")
    for _ in range(20):
        run.world.pass_model(NAME)
        run.world.pass_ray()
        run.world.tick()
    assert serving(run.world).phase is Phase.RESTORING
    run.world.be_patient(400)
    assert serving(run.world).phase is not Phase.RESTORING


def test_a_batch_that_never_gets_ready_fails_the_candidate_and_the_old_one_grows_back() -> None:
    run = begun()
    at_half(run)
    run.world.applications[names.serve_application(NAMESPACE, NAME, str(serving(run.world).candidate))].is_stuck = True
    run.world.settle()
    assert [entry.reason for entry in serving(run.world).quarantine] == [Reason.PROGRESS_DEADLINE_EXCEEDED]
    assert [app.running for app in run.world.applications.values()] == [4]


def test_no_verb_skips_a_batch() -> None:
    run = begun()
    at_half(run)
    run.world.ask(NAME, Verb.PROMOTE_FULL)
    run.world.pass_model(NAME)
    handled = serving(run.world).handled
    assert handled is not None
    assert (handled.outcome, "in batches" in handled.message) == (RequestOutcome.REFUSED, True)


def test_a_hold_keeps_capacity_and_traffic_as_they_are() -> None:
    run = begun()
    at_half(run)
    run.world.change(NAME, "rollout.paused", True)
    run.world.settle()
    held = (weights(run.world), sorted(app.running for app in run.world.applications.values()))
    run.world.advance(86400)
    run.world.settle()
    assert (weights(run.world), sorted(app.running for app in run.world.applications.values())) == held
    run.world.change(NAME, "rollout.paused", False)
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 2


@pytest.mark.parametrize("replicas", [1, 2, 8])
def test_a_change_of_scale_in_the_middle_ends_well(replicas: int) -> None:
    run = begun()
    at_half(run)
    run.world.change(NAME, "scaling.replicas", replicas)
    run.world.settle()
    assert number(run.world, serving(run.world).stable) == 2
    assert [app.running for app in run.world.applications.values()] == [replicas]


def test_another_strategy_in_the_middle_gives_the_old_one_its_replicas_back_before_its_traffic() -> None:
    run = begun()
    at_half(run)
    spec = dict(run.world.models[NAME].spec)
    steps = [{"setWeight": 10}, {"setWeight": 10}, {"setWeight": 10}, {"setWeight": 10}, {"pause": {}}]
    spec["rollout"] = {"progressDeadlineSeconds": 60, "strategy": "Canary", "steps": steps}
    run.world.apply(NAME, **spec)
    run.world.settle()
    stable = str(serving(run.world).stable)
    assert weights(run.world)[stable] == 9000
    assert run.world.running(NAME, stable) == 4
