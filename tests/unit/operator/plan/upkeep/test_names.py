"""Models whose names begin with each other's, or hold the separator of application names."""

from __future__ import annotations

import pytest
from tests.support.virtual_world import VirtualWorld

NAMES = ("digits", "digits--two", "digits-two", "digits--two--three")


def served() -> VirtualWorld:
    world = VirtualWorld()
    for name in NAMES:
        world.apply(name, model={"uri": "file:///m/1"}, scaling={"replicas": 2})
    world.settle()
    return world


def condition(world: VirtualWorld, name: str, kind: str) -> str:
    return next(str(c["status"]) for c in world.models[name].status["conditions"] if c["type"] == kind)


def test_each_is_ready_and_counts_its_own_replicas() -> None:
    world = served()
    assert [condition(world, name, "Ready") for name in NAMES] == ["True"] * len(NAMES)
    assert [world.models[name].status["replicas"] for name in NAMES] == [2] * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_deleted_while_the_others_serve(name: str) -> None:
    world = served()
    world.delete(name)
    world.settle()
    assert sorted(world.models) == sorted(set(NAMES) - {name})
    assert [app.running for app in world.applications.values()] == [2] * (len(NAMES) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_suspended_while_the_others_serve(name: str) -> None:
    world = served()
    world.change(name, "suspend", True)
    world.settle()
    reasons = {c["reason"] for c in world.models[name].status["conditions"] if c["type"] == "Ready"}
    message = next(c["message"] for c in world.models[name].status["conditions"] if c["type"] == "Ready")
    assert (reasons, message) == ({"Suspended"}, "Nothing runs, because spec.suspend is true.")
