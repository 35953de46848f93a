"""The virtual operator that keeps statuses in memory: fewer are written, a crash loses them, the end is the same."""

from __future__ import annotations

import pytest
from tests.support.virtual_world import Fault, VirtualWorld

NAME = "digits"


def updated(*, has_drafts: bool, crash_at: int | None = None) -> VirtualWorld:
    world = VirtualWorld(has_drafts=has_drafts)
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"strategy": "RollingUpdate"})
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    for number in range(60):
        for _ in range(3):
            world.pass_model(NAME, Fault.CRASH_AFTER_WRITE if number == crash_at else Fault.NONE)
        world.pass_every_ray()
        world.tick()
    return world


def status_writes(world: VirtualWorld) -> int:
    return sum(write.kind == "status" for write in world.writes)


def end_of(world: VirtualWorld) -> tuple[object, ...]:
    serving = world.view(NAME).serving
    return serving.stable, serving.candidate, serving.rollout, world.routes, sorted(world.applications)


def test_fewer_statuses_are_written_and_the_end_is_the_same() -> None:
    kept, each = updated(has_drafts=True), updated(has_drafts=False)
    assert status_writes(kept) < status_writes(each)
    assert end_of(kept) == end_of(each)


@pytest.mark.parametrize("crash_at", range(8))
def test_a_crash_that_loses_drafts_changes_nothing_of_the_end(crash_at: int) -> None:
    assert end_of(updated(has_drafts=True, crash_at=crash_at)) == end_of(updated(has_drafts=True))


def test_a_crash_loses_what_was_not_written() -> None:
    world = VirtualWorld(has_drafts=True)
    world.apply(NAME, model={"uri": "file:///m/1"})
    for _ in range(10):
        world.pass_model(NAME)
        if world.process.drafts:
            break
    stored = world.models[NAME].status
    world.pass_model(NAME, Fault.CRASH_BEFORE_WRITE)
    assert not world.process.drafts
    assert world.models[NAME].status == stored
