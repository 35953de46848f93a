"""A clock that is set back: no date that the status keeps is waited for until the clock has caught up."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from tests.support.one_model import NAME, rollout, round_of, serving, share, until
from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.health import CRASHES_MAX, Health
from fairlead_operator.api.status import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan.rollout import clock
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.route import FULL_WEIGHT

HOUR = datetime.timedelta(hours=1)
STEPS: list[dict[str, Any]] = [{"setWeight": 25}, {"pause": {}}]


def paused_canary() -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"strategy": "Canary", "steps": STEPS})
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).phase is Phase.SHIFTING and rollout(world).step == 1)
    return until(world, lambda: share(world) == 2500)


def application_of(world: VirtualWorld, revision: str | None) -> Any:
    return world.applications[names.serve_application(NAMESPACE, NAME, revision or "")]


def stop(world: VirtualWorld, revision: str | None) -> None:
    application = application_of(world, revision)
    application.running, application.is_stuck = 0, True


def rounds_until_unwell(world: VirtualWorld) -> None:
    until(world, lambda: rollout(world).health.unwell_since is not None)


def test_a_lost_stable_revision_is_covered_in_time() -> None:
    world = paused_canary()
    stop(world, serving(world).stable)
    until(world, lambda: rollout(world).stable_lost_at is not None)
    world.now -= HOUR
    until(world, lambda: share(world) == FULL_WEIGHT)


def test_a_candidate_without_replicas_is_withdrawn_in_time() -> None:
    world = paused_canary()
    candidate = serving(world).candidate
    stop(world, candidate)
    rounds_until_unwell(world)
    world.now -= HOUR
    until(world, lambda: serving(world).quarantined(candidate or ""))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_candidate_that_was_unwell_for_a_moment_stays(jump: datetime.timedelta) -> None:
    world = paused_canary()
    candidate = application_of(world, serving(world).candidate)
    candidate.running, candidate.is_stuck = 0, True
    rounds_until_unwell(world)
    candidate.is_stuck = False
    world.tick()
    world.now += jump
    for _ in range(30):
        round_of(world)
    assert serving(world).quarantine == ()


def test_a_clock_set_forward_ends_the_time_of_a_spell_and_takes_nothing_but_the_candidate() -> None:
    """A spell that has just begun counts as an hour old: the stable revision gets all traffic, and a retry is free."""
    world = paused_canary()
    stable, candidate = serving(world).stable, serving(world).candidate
    stop(world, candidate)
    rounds_until_unwell(world)
    world.now += HOUR
    until(world, lambda: serving(world).phase is None)
    assert [q.revision for q in serving(world).quarantine] == [candidate]
    assert (serving(world).stable, share(world)) == (stable, 0)
    world.ask(NAME, "Retry")
    until(world, lambda: serving(world).candidate == candidate)


def test_crashes_that_the_clock_dates_in_the_future_make_no_loop() -> None:
    world = paused_canary()
    memory, health = rollout(world), Health(crashes=(world.now + HOUR,) * (CRASHES_MAX - 1))
    corrected = clock.dated_until(dataclasses.replace(memory, health=health), world.now)
    assert corrected.health.crashes == ()


def test_replicas_that_stay_missing_end_ready_in_time() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 40})
    world.settle()
    application_of(world, serving(world).stable).is_stuck = True
    world.change(NAME, "scaling.replicas", 3)
    until(world, lambda: serving(world).short_since is not None)
    world.now -= HOUR
    until(world, lambda: ready(world) == "False")


def ready(world: VirtualWorld) -> str:
    conditions = world.models[NAME].status["conditions"]
    return next(str(c["status"]) for c in conditions if c["type"] == "Ready")


def test_no_date_of_the_memory_is_left_in_the_future() -> None:
    """For every field that holds a date, those to come too."""
    future, now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def dates(kind: type) -> dict[str, datetime.datetime]:
        fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
        return {name: future for name, type_ in fields.items() if type_.startswith(("Time", "datetime.datetime"))}

    memory = Rollout(phase=Phase.SHIFTING, health=Health(**dates(Health)), **dates(Rollout))  # type: ignore[arg-type]
    corrected = clock.dated_until(memory, now)
    for part in (corrected, corrected.health):
        assert dates(type(part))
        for name in dates(type(part)):
            assert getattr(part, name) == now, name
    # No time is measured from `at_zero_since`: it is shown.
    assert dates(Serving).keys() == {"short_since", "at_zero_since"}, "see test_replicas_that_stay_missing"
