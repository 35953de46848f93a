"""Automatic scaling is turned off under load: what serves keeps its replicas until the next revision takes over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import nightly
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import Verb

BOUNDS: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 20, "target": {"ongoingRequests": 4}}
STEPS = [{"setWeight": 50}, {"pause": {}}]


def scaled_to(replicas: int, **rollout: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling=BOUNDS, rollout={"progressDeadlineSeconds": 60, **rollout})
    world.settle()
    world.aim(NAME, 1, replicas)
    world.settle()
    return world


def target(world: VirtualWorld, revision: str | None) -> int:
    found = world.applications.get(names.serve_application(NAMESPACE, NAME, str(revision)))
    return found.target if found is not None else 0


@pytest.mark.parametrize(
    "rollout",
    [
        {},
        {"strategy": "BlueGreen"},
        {"strategy": "Canary", "steps": STEPS},
        {"rollingUpdate": {"surge": "1", "unavailable": "0"}},
    ],
    ids=["RollingUpdate", "BlueGreen", "Canary", "batches"],
)
def test_the_stable_revision_keeps_its_replicas_until_the_fixed_one_is_promoted(rollout: dict[str, Any]) -> None:
    world = scaled_to(12, **rollout)
    old = serving(world).stable
    world.change(NAME, "scaling", {"replicas": 4})
    for _ in range(60):
        if serving(world).stable != old:
            break
        if serving(world).candidate is not None and world.plans and "promoted" in world.plans[-1].message:
            world.ask(NAME, Verb.PROMOTE)
        assert target(world, old) == 12
        round_of(world)
    world.settle()
    assert target(world, serving(world).stable) == world.running(NAME, str(serving(world).stable)) == 4
    assert target(world, old) == 0


def test_what_ray_did_while_the_operator_was_away_counts() -> None:
    world = scaled_to(1, strategy="BlueGreen")
    old = serving(world).stable
    world.aim(NAME, 1, 12)
    for _ in range(12):
        world.tick()
    world.change(NAME, "scaling", {"replicas": 1})
    world.pass_every_ray()
    assert target(world, old) == 12
    world.settle()
    assert target(world, old) == world.running(NAME, str(old)) == 12
    assert target(world, serving(world).candidate) == 1


def test_zero_still_stops_the_model() -> None:
    world = scaled_to(12)
    world.change(NAME, "scaling", {"replicas": 0})
    world.settle()
    assert target(world, serving(world).stable) == 0


def test_bounds_that_come_back_hold_at_once() -> None:
    world = scaled_to(12, strategy="BlueGreen")
    old = serving(world).stable
    world.change(NAME, "scaling", {"replicas": 1})
    world.settle()
    world.change(NAME, "scaling", {**BOUNDS, "maxReplicas": 5})
    world.settle()
    assert (serving(world).stable, serving(world).candidate) == (old, None)
    assert target(world, old) == 5


@settings(max_examples=nightly.examples(30), deadline=None)
@given(before=st.integers(1, 20), later=st.integers(1, 20), fixed=st.integers(1, 25), ray_first=st.booleans())
def test_it_never_has_fewer_than_ray_runs_or_than_the_spec_asks_for(
    before: int, later: int, fixed: int, ray_first: bool
) -> None:
    world = scaled_to(before, strategy="BlueGreen")
    old = serving(world).stable
    world.aim(NAME, 1, later)
    world.change(NAME, "scaling", {"replicas": fixed})
    if ray_first:
        world.pass_every_ray()
    until(world, lambda: serving(world).candidate is not None)
    assert target(world, old) >= max(later, fixed)
    world.settle()
    assert target(world, old) >= max(later, fixed)
